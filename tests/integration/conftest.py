"""A real server in a process of its own, on free ports, serving the bundled model."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.repository import ModelRepository

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ROOT / "examples" / "photos"
ZOO = ROOT / "models" / "zoo"
VERSION = str(ModelRepository(ZOO).versions("cats-vs-dogs")[-1])


@dataclass(frozen=True)
class Server:
    """A running server: its process, HOST:PORT for gRPC and for metrics, its log from then on."""

    process: subprocess.Popen[str]
    grpc: str
    metrics: str
    log: Future[str]

    def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextmanager
def run_server(*flags: str) -> Iterator[Server]:
    """Start ``python -m server`` with ``flags`` and wait until its log says it is ready."""
    command = [sys.executable, "-m", "server", "--port", "0", "--metrics-port", "0", *flags]
    environment = {key: value for key, value in os.environ.items() if "MENAGERIE_" not in key}
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stderr is not None
    lines = []
    reader = ThreadPoolExecutor(1)
    try:
        for line in process.stderr:
            lines.append(line)
            record = json.loads(line) if line.startswith("{") else {}
            if record.get("message") == "ready":
                # Read as it comes: a full pipe would stop the server.
                log = reader.submit(process.stderr.read)
                yield Server(process, record["grpc"], record["metrics"], log)
                break
        else:
            raise AssertionError("the server ended before it was ready:\n" + "".join(lines))
    finally:
        process.kill()
        process.wait()
        reader.shutdown()
        process.stderr.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with run_server("--max-batch-size", "8", "--reflection") as running:
        yield running


@pytest.fixture(scope="session")
def cat() -> bytes:
    return (PHOTOS / "cat.2000.jpg").read_bytes()


@pytest.fixture(scope="session")
def dog() -> bytes:
    return (PHOTOS / "dog.2000.jpg").read_bytes()
