"""The load generator against a real server: both count the same requests."""

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.gpu.tensors import flood
from tests.integration.conftest import PHOTOS, ROOT, Server


def bench(server: Server, file: Path, *arguments: str) -> dict:
    command = [sys.executable, "-m", "client", "bench", str(PHOTOS), "--server", server.grpc]
    command += ["--json", str(file), *arguments]
    run = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, timeout=100)
    assert run.returncode in (0, 1), run.stderr  # 1: nothing was answered OK
    return json.loads(file.read_text())


def served(server: Server) -> Counter[tuple[str, str]]:
    """How many requests the server has answered, by method and status."""
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=30) as page:
        lines = page.read().decode().splitlines()
    counts: Counter[tuple[str, str]] = Counter()
    for line in lines:
        if line.startswith("menagerie_requests_total{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            counts[labels["method"], labels["code"]] += int(float(line.rpartition(" ")[2]))
    return counts


@pytest.mark.parametrize(
    ("arguments", "requests"),
    [
        (("--calls", "60", "-c", "6", "--processes", "2"), 60),
        (("--calls", "10", "-c", "2", "--method", "batch", "--batch-size", "5"), 50),
        (("--calls", "60", "-c", "8", "--method", "stream", "--connections", "2"), 60),
        (("--calls", "30", "--rate", "300", "--arrivals", "constant", "--processes", "2"), 30),
        (("--calls", "30", "--rate", "300", "--method", "stream"), 30),
    ],
)
def test_every_request_is_answered_and_counted_once(
    server: Server, tmp_path: Path, arguments: tuple[str, ...], requests: int
) -> None:
    before = served(server)
    figures = bench(server, tmp_path / "figures.json", "--warm-up", "0", *arguments)
    assert figures["statuses"] == {"OK": requests}
    assert figures["requests"] == figures["answered_ms"]["count"] == requests
    assert not any(figures["not_measured"].values())
    assert figures["answered_per_s"] > 0
    assert 1 <= figures["mean_batch"] <= 8
    assert (served(server) - before).total() == requests


def test_an_open_loop_beyond_capacity_counts_what_is_refused(
    server: Server, tmp_path: Path
) -> None:
    arguments = ("--calls", "300", "--rate", "3000", "--deadline-ms", "150", "--warm-up", "0")
    figures = bench(server, tmp_path / "figures.json", *arguments)
    assert figures["requests"] == sum(figures["statuses"].values()) == 300
    assert figures["statuses"].keys() <= {"OK", "UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert figures["in_time"] <= figures["statuses"].get("OK", 0) < 300
    assert figures["failed_ms"]["count"] == 300 - figures["statuses"].get("OK", 0)
    assert figures["lag_ms"]["count"] == 300


def test_a_loop_of_so_many_seconds_accounts_for_the_warm_up(server: Server, tmp_path: Path) -> None:
    before = served(server)
    arguments = ("--duration", "1", "--warm-up", "0.5", "-c", "4")
    figures = bench(server, tmp_path / "figures.json", *arguments)
    assert figures["seconds"] == pytest.approx(1.0)
    sent = figures["requests"] + sum(figures["not_measured"].values())
    assert (served(server) - before).total() == sent
    assert figures["not_measured"]["after"] <= 4


def test_raw_pixels_are_flooded_and_what_their_answers_tell_is_kept(server: Server) -> None:
    found = asyncio.run(flood(server.grpc, side=160, window=4, seconds=0.2, warm_up_s=0.0))
    assert found["answered"] > 0
    assert found["refused"] == 0
    assert found["total_us"] >= found["engine_us"] > 0
    assert found["batch_size"] >= 1
