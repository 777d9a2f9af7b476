"""Servers in processes of their own."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from client import Client

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def serving(repository: Path, *flags: str) -> Iterator[str]:
    """``python -m server``, ready inside the block; gives its address."""
    address = free_address()
    command = ["server", "--repository", str(repository), "--metrics-port", "0"]
    command += ["--engine", "torchscript"]  # no compiler beside what is timed, unless flags say so
    with running(*command, "--port", address.rpartition(":")[2], *flags):
        with Client(address) as client:
            client.wait_until_serving(timeout_s=120)
        yield address


@dataclass(frozen=True)
class Contender:
    """A server and its process."""

    address: str
    process: int

    def cpu_s(self) -> float:
        """CPU seconds so far (proc(5), stat: utime and stime)."""
        fields = Path(f"/proc/{self.process}/stat").read_text(encoding="ascii").rpartition(")")[2]
        return sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def contender(*command: str) -> Iterator[Contender]:
    """``python command``, a server, ready inside the block."""
    address = free_address()
    process = subprocess.Popen(
        [sys.executable, *command, "--metrics-port", "0", "--port", address.rpartition(":")[2]],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        with Client(address) as client:
            client.wait_until_serving(timeout_s=300)
        yield Contender(address, process.pid)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def running(module: str, *arguments: str) -> Iterator[None]:
    """``python -m module arguments``, ended by SIGTERM after the block."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def free_address() -> str:
    """An address on this host that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def free_ports(count: int) -> int:
    """The first of ``count`` successive ports of this host that nobody listens on."""
    while True:
        first = int(free_address().rpartition(":")[2])
        try:
            with ExitStack() as probes:
                for port in range(first, first + count):
                    probes.enter_context(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue
        return first
