"""A real server in a process of its own, on free ports, serving the bundled model."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from models.repository import ModelRepository
from tests.artifacts import publish_tiny_artifact
from tests.programs import Program

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ROOT / "examples" / "photos"
ZOO = ROOT / "models" / "zoo"
CACHE = TemporaryDirectory(prefix="menagerie-tests-")  # of what servers keep for the next start
USUAL = ("--max-batch-size", "8", "--reflection")
VERSION = str(ModelRepository(ZOO).versions("cats-vs-dogs")[-1])


@dataclass(frozen=True)
class Server:
    """A running server: its process, HOST:PORT for gRPC and for metrics, its log from then on,
    and the address for administration where there is one."""

    process: Program | subprocess.Popen[str]
    grpc: str
    metrics: str
    log: Future[str]
    admin: str = ""

    def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextmanager
def run_server(
    *flags: str, reads_log: bool = True, forked: bool = True, prefix: Sequence[str] = ()
) -> Iterator[Server]:
    """Start ``python -m server`` with ``flags`` and wait until its log says it is ready.

    Its log is read on unless ``reads_log`` is false. No model is compiled unless ``flags`` say
    so. It is forked from a process that has imported what it needs, unless ``forked`` is false
    or there is a ``prefix``: a command that ends by executing its arguments.
    """
    arguments = ["--port", "0", "--metrics-port", "0", "--engine", "torchscript", *flags]
    environment = {key: value for key, value in os.environ.items() if "MENAGERIE_" not in key}
    environment["XDG_CACHE_HOME"] = CACHE.name
    process: Program | subprocess.Popen[str]
    if forked and not prefix:
        process = Program("server", *arguments, environment=environment)
    else:
        command = [*prefix, sys.executable, "-m", "server", *arguments]
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
                # Read as it comes: what does not fit into the pipe is dropped.
                log = reader.submit(process.stderr.read) if reads_log else Future()
                yield Server(
                    process, record["grpc"], record["metrics"], log, record.get("admin", "")
                )
                break
        else:
            raise AssertionError("the server ended before it was ready:\n" + "".join(lines))
    finally:
        process.kill()
        process.wait()
        reader.shutdown()
        for written in (process.stdout, process.stderr):
            if written is not None:
                written.close()


@pytest.fixture(scope="session")
def one_process() -> Iterator[Server]:
    with run_server(*USUAL) as running:
        yield running


@pytest.fixture(scope="session")
def two_fronts() -> Iterator[Server]:
    with run_server(*USUAL, "--fronts", "2") as running:
        yield running


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Server:
    """A running server that modules share: leave it as it was found.

    A module may ask for it with several fronts by `in_both_modes`.
    """
    fronts = getattr(request, "param", "1")
    running: Server = request.getfixturevalue({"1": "one_process", "2": "two_fronts"}[fronts])
    return running


def in_both_modes(metafunc: pytest.Metafunc) -> None:
    """Run a module's tests against one process and against two fronts: no caller may see which.

    For a module to take as its ``pytest_generate_tests``.
    """
    if "server" in metafunc.fixturenames:
        ids = ["one process", "two fronts"]
        metafunc.parametrize("server", ["1", "2"], ids=ids, indirect=True, scope="module")


@pytest.fixture(scope="session")
def tiny_repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A repository with a model that loads in a moment."""
    root = tmp_path_factory.mktemp("tiny")
    publish_tiny_artifact(root)
    return str(root)


@pytest.fixture(scope="session")
def cat() -> bytes:
    return (PHOTOS / "cat.2000.jpg").read_bytes()


@pytest.fixture(scope="session")
def dog() -> bytes:
    return (PHOTOS / "dog.2000.jpg").read_bytes()
