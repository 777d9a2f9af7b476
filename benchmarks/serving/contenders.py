"""Who is compared: our server, the peers, and a bare echo."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from benchmarks.peers import environments
from benchmarks.peers.catalogue import PEERS, Peer, Settings, end
from benchmarks.processes import ROOT, free_ports
from client.bench.calls import MenagerieTarget
from client.bench.sender import Target
from client.messages import Query


@dataclass(frozen=True, slots=True)
class Running:
    """A server that was started: how to call it, its process."""

    target: Target
    process: subprocess.Popen[bytes]


class Contender(Protocol):
    """A server that can be started."""

    name: str
    title: str

    def running(self, settings: Settings, log: Path) -> Iterator[Running]:
        """Start it for the time of a ``with`` block; its output goes to `log`."""

    def version(self) -> str:
        """Return what is compared."""


@dataclass(frozen=True, slots=True)
class Ours:
    """Our server, with its defaults but for the batch size that all have."""

    name: str = "menagerie"
    title: str = "Menagerie"

    @contextmanager
    def running(self, settings: Settings, log: Path) -> Iterator[Running]:
        """See ``Contender``."""
        port = free_ports(1)
        repository, model = settings.model.parents[2], settings.model.parents[1].name
        command = [
            *("-m", "server", "--repository", str(repository), "--default-model", model),
            *("--port", str(port), "--metrics-port", "0"),
            *("--max-batch-size", str(settings.max_batch), "--log-level", "warning"),
        ]
        with _started([sys.executable, *command], log) as process:
            yield Running(MenagerieTarget(f"127.0.0.1:{port}", "unary", Query()), process)

    def version(self) -> str:
        """Return the commit."""
        command = ["git", "describe", "--always", "--dirty"]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return found.stdout.strip()


@dataclass(frozen=True, slots=True)
class Echo:
    """A bare grpc.aio server that answers at once: what the calls themselves cost."""

    name: str = "echo"
    title: str = "bare gRPC echo"

    @contextmanager
    def running(self, _settings: Settings, log: Path) -> Iterator[Running]:
        """See ``Contender``."""
        address = f"127.0.0.1:{free_ports(1)}"
        command = [sys.executable, "-m", "benchmarks.overhead", "--echo", address]
        with _started(command, log) as process:
            yield Running(MenagerieTarget(address, "unary", Query()), process)

    def version(self) -> str:
        """Return gRPC's version."""
        return f"grpcio {version('grpcio')}"


@dataclass(frozen=True, slots=True)
class Other:
    """A peer."""

    peer: Peer

    @property
    def name(self) -> str:
        """The peer's name."""
        return self.peer.name

    @property
    def title(self) -> str:
        """What people call it."""
        return self.peer.title

    @contextmanager
    def running(self, settings: Settings, log: Path) -> Iterator[Running]:
        """See ``Contender``."""
        with self.peer.running(settings, log) as (target, process):
            yield Running(target, process)

    def version(self) -> str:
        """Return the package and its version in the peer's environment."""
        package = self.peer.package
        return f"{package} {environments.version(self.peer.name, package)}"


def contenders() -> list[Contender]:
    """Return our server, the echo, and the peers that are set up."""
    ready = [Other(peer) for name, peer in PEERS.items() if environments.is_set_up(name)]
    return [Ours(), Echo(), *ready]


@contextmanager
def _started(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            end(process)
