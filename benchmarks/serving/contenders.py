"""Who is compared: our server with each engine, the peers, and a bare echo."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from benchmarks.peers import environments
from benchmarks.peers.catalogue import PEERS, WITH_COMPILED, Peer, Settings, Way, callable_ways, end
from benchmarks.processes import ROOT, free_ports
from client import Client, ClientError
from client.bench.calls import MenagerieTarget
from client.bench.sender import Target
from client.messages import Query

OURS, OURS_COMPILED, OURS_INT8 = "menagerie", "menagerie-compiled", "menagerie-int8"
ECHO = "echo"


@dataclass(frozen=True, slots=True)
class Running:
    """A server that was started.

    Attributes:
        targets: How to call it, by what it offers.
        process: The one that started all others.
        is_whole: Whether it has become what is to be measured; it may answer before.
    """

    targets: Mapping[Way, Target]
    process: subprocess.Popen[bytes]
    is_whole: Callable[[], bool] = lambda: True


class Contender(Protocol):
    """A server that can be started."""

    @property
    def name(self) -> str:
        """In results and tables."""

    @property
    def offers(self) -> frozenset[Way]:
        """How it can be called beside one photo for one model."""

    def running(self, settings: Settings, log: Path) -> AbstractContextManager[Running]:
        """Start it for the time of a ``with`` block; its output goes to `log`."""

    def version(self) -> str:
        """Return what is compared."""


@dataclass(frozen=True, slots=True)
class Ours:
    """Our server, with its defaults but for the batch size that all have and the engine.

    "auto" is the default, and measured once int8 has taken over.
    """

    name: str
    engine: str
    offers: frozenset[Way] = frozenset({"batch", "stream", "second"})

    @contextmanager
    def running(self, settings: Settings, log: Path) -> Iterator[Running]:
        """See ``Contender``."""
        port = free_ports(1)
        first = settings.models[0]
        command = [
            *("-m", "server", "--repository", str(first.file.parents[2])),
            *("--default-model", first.name, "--port", str(port), "--metrics-port", "0"),
            *("--max-batch-size", str(settings.max_batch), "--log-level", "warning"),
            *("--engine", self.engine, "--compile-cache", str(settings.work / "compiled")),
        ]
        address = f"127.0.0.1:{port}"
        targets: dict[Way, Target] = {
            "unary": MenagerieTarget(address, "unary", Query()),
            "batch": MenagerieTarget(address, "batch", Query()),
            "stream": MenagerieTarget(address, "stream", Query()),
            "second": MenagerieTarget(address, "unary", Query(model=settings.models[-1].name)),
        }
        wanted = "int8" if self.engine == "auto" else self.engine
        with _started([sys.executable, *command], log) as process:
            yield Running(
                callable_ways(targets, settings), process, lambda: _engines(address) == {wanted}
            )

    def version(self) -> str:
        """Return the commit."""
        command = ["git", "describe", "--always", "--dirty"]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return found.stdout.strip()


def _engines(address: str) -> set[str]:
    try:
        with Client(address) as client:
            return {model.engine for model in client.models()}
    except ClientError:
        return set()


@dataclass(frozen=True, slots=True)
class Echo:
    """A bare grpc.aio server that answers at once: what the calls themselves cost."""

    name: str = ECHO
    offers: frozenset[Way] = frozenset()

    @contextmanager
    def running(self, _settings: Settings, log: Path) -> Iterator[Running]:
        """See ``Contender``."""
        address = f"127.0.0.1:{free_ports(1)}"
        command = [sys.executable, "-m", "benchmarks.overhead", "--echo", address]
        with _started(command, log) as process:
            yield Running({"unary": MenagerieTarget(address, "unary", Query())}, process)

    def version(self) -> str:
        """Return gRPC's version."""
        return f"grpcio {version('grpcio')}"


@dataclass(frozen=True, slots=True)
class Other:
    """A peer."""

    peer: Peer

    @property
    def name(self) -> str:
        """See ``Contender``."""
        return self.peer.name

    @property
    def offers(self) -> frozenset[Way]:
        """See ``Contender``."""
        return self.peer.offers

    @contextmanager
    def running(self, settings: Settings, log: Path) -> Iterator[Running]:
        """See ``Contender``."""
        with self.peer.running(settings, log) as (targets, process):
            yield Running(targets, process)

    def version(self) -> str:
        """Return the package and its version in the peer's environment."""
        package = self.peer.package
        return f"{package} {environments.version(self.peer.folder, package)}"


def contenders() -> list[Contender]:
    """Return our server, the echo, and the peers that are set up."""
    ready = [peer for name, peer in PEERS.items() if environments.is_set_up(name)]
    compiled = [peer.compiled() for peer in ready if peer.name in WITH_COMPILED]
    engines = {OURS: "torchscript", OURS_COMPILED: "compiled", OURS_INT8: "auto"}
    ours = [Ours(name, engine) for name, engine in engines.items()]
    return [*ours, Echo(), *map(Other, [*ready, *compiled])]


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
