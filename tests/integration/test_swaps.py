"""Versions come and go under full load and no request fails.

A short run by default; ``MENAGERIE_SWAPS=200 python -m pytest -s tests/integration/test_swaps.py``
is the long one, which also holds the memory to 2%.
"""

import json
import os
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from proto.classify.v1 import classify_pb2, classify_pb2_grpc
from tests.artifacts import TINY_SIDE, coloured, publish_tiny_artifact
from tests.integration.conftest import Server, run_server

SWAPS = int(os.environ.get("MENAGERIE_SWAPS", "6"))
LONG_RUN = 100  # swaps from which on memory says something
CALLERS = 8
RED = classify_pb2.ClassifyRequest(
    image=classify_pb2.Image(
        raw=classify_pb2.RawImage(
            height=TINY_SIDE,
            width=TINY_SIDE,
            data=coloured("red").permute(1, 2, 0).contiguous().numpy().tobytes(),
        )
    )
)


@dataclass(frozen=True)
class Answered:
    """A version's answer, and when it was asked for and came; seconds since the epoch."""

    version: str
    sent: float
    received: float


@pytest.mark.timeout(180 + 10 * SWAPS)
def test_no_request_fails_while_versions_are_swapped(tmp_path: Path) -> None:
    publish_tiny_artifact(tmp_path)
    answers: list[Answered] = []
    failures: list[grpc.RpcError] = []
    stop = threading.Event()
    newest = threading.Condition()
    seen = {"version": 0}

    def closed_loop(address: str) -> None:
        with grpc.insecure_channel(address, [("grpc.enable_retries", 0)]) as channel:
            stub = classify_pb2_grpc.ClassifyServiceStub(channel)
            while not stop.is_set():
                sent = time.time()
                try:
                    answer = stub.Classify(RED, timeout=60)
                except grpc.RpcError as error:
                    failures.append(error)
                    return
                answers.append(Answered(answer.model_version, sent, time.time()))
                with newest:
                    seen["version"] = max(seen["version"], int(answer.model_version))
                    newest.notify_all()

    memory = []
    # The answers that Feedback may speak of fill their memory at first, swaps or not: few here.
    flags = ("--repository", str(tmp_path), "--repository-poll-s", "0.05", "--max-batch-size", "4")
    with (
        run_server(
            *flags, "--log-request-share", "0", "--slow-request-ms", "0", "--feedback-memory", "100"
        ) as server,
        ThreadPoolExecutor(CALLERS) as pool,
    ):
        loops = [pool.submit(closed_loop, server.grpc) for _ in range(CALLERS)]
        try:
            for _ in range(SWAPS):
                version = publish_tiny_artifact(tmp_path)
                with newest:
                    arrived = newest.wait_for(
                        lambda version=version: seen["version"] >= version or failures, timeout=60
                    )
                assert arrived, f"version {version} never answered"
                memory.append(resident_kib(server))
            health = health_pb2_grpc.HealthStub(grpc.insecure_channel(server.grpc))
            status = health.Check(health_pb2.HealthCheckRequest(), timeout=10).status
        finally:
            stop.set()
        for loop in loops:
            loop.result(timeout=60)
        assert server.terminate() == 0
        log = [json.loads(line) for line in server.log.result(timeout=60).splitlines()]
    assert failures == []
    assert status == health_pb2.HealthCheckResponse.SERVING
    assert {answer.version for answer in answers} >= {str(version) for version in range(2, SWAPS)}
    check_every_version_was_ready(answers, log)
    sys.stdout.write(f"{len(answers)} answers; resident memory, KiB: {memory[:: SWAPS // 8 + 1]}\n")
    if SWAPS >= LONG_RUN:
        before, after = (statistics.median(part) for part in (memory[5:15], memory[-10:]))
        assert after <= 1.02 * before


def check_every_version_was_ready(answers: list[Answered], log: list[dict[str, str]]) -> None:
    """A request was under way at a moment when the version that answered it was READY."""
    ready = moments(log, "model ready")
    draining = moments(log, "model draining")
    tolerance_s = 0.002  # the log's clock ticks in milliseconds
    for answer in answers:
        # The first version became READY before its log was read.
        assert answer.received >= ready.get(answer.version, 0.0) - tolerance_s
        assert answer.sent <= draining.get(answer.version, float("inf")) + tolerance_s


def moments(log: list[dict[str, str]], message: str) -> dict[str, float]:
    return {
        str(line["version"]): datetime.fromisoformat(line["time"]).timestamp()
        for line in log
        if line["message"] == message
    }


def resident_kib(server: Server) -> int:
    with Path(f"/proc/{server.process.pid}/status").open(encoding="ascii") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1])
