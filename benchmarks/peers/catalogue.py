"""The peers: what each is, how it is started, how it is called."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from benchmarks.peers import environments
from benchmarks.peers.environments import HERE
from benchmarks.peers.targets import MODELS, GrpcTarget, HttpTarget
from benchmarks.processes import free_ports
from client.bench.sender import Target
from server.pipeline.cores import usable_cores

Way = Literal["unary", "batch", "stream", "second"]

_STOP_S = 20.0


@dataclass(frozen=True, slots=True)
class Served:
    """A model that everybody serves.

    Attributes:
        name: Of the network.
        file: The TorchScript file.
        program: The exported program that a peer compiles.
        side: Of its input, in pixels.
    """

    name: str
    file: Path
    program: Path
    side: int


@dataclass(frozen=True, slots=True)
class Settings:
    """What all peers are told alike.

    Attributes:
        models: One, or the two that share the machine.
        work: A folder for what compilers keep.
        max_batch: Images in a batch.
        max_delay_ms: How long the first of a batch waits for others, where a peer asks.
        workers: Lanes of one thread each, for each model; one for each core.
    """

    models: tuple[Served, ...]
    work: Path
    max_batch: int = 8
    max_delay_ms: float = 5.0
    workers: int = field(default_factory=usable_cores)

    def environment(self) -> dict[str, str]:
        """Return them as variables; ``shared/classifier.py`` reads them."""
        files = [
            {"file": str(one.file), "program": str(one.program), "side": one.side}
            for one in self.models
        ]
        return {
            "MODELS": json.dumps(files),
            "MAX_BATCH": str(self.max_batch),
            "MAX_DELAY_MS": str(self.max_delay_ms),
            "WORKERS": str(self.workers),
            "COMPILED": "",
            "TORCHINDUCTOR_CACHE_DIR": str(self.work / "inductor"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(HERE / "shared")]),
            "PYTHONWARNINGS": "ignore",
        }


@dataclass(frozen=True, slots=True)
class Peer:
    """Another server.

    Attributes:
        name: In results and tables.
        title: What people call it.
        package: The distribution whose version counts.
        protocol: How it is called, for people.
        home: Its folder here; empty: as its name.
        offers: How it can be called beside one photo for one model: photos in a "batch", on a
            "stream", for a "second" model.
        http_path: Where photos go over HTTP; empty: it speaks gRPC.
        http_field: See ``HttpTarget``.
        http_listed: See ``HttpTarget``.
        module: What is run instead of server.py; {port} is filled in.
        environment: Variables of its own.
    """

    name: str
    title: str
    package: str
    protocol: str
    home: str = ""
    offers: frozenset[Way] = frozenset()
    http_path: str = ""
    http_field: str = ""
    http_listed: bool = False
    module: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None

    @property
    def folder(self) -> str:
        """Name its folder here, and its environment."""
        return self.home or self.name

    def targets(self, port: int) -> dict[Way, Target]:
        """Return how to call it on a port of this host, in every way that it offers."""
        ways: dict[Way, Target] = {"unary": self._target(port, 0), "second": self._target(port, 1)}
        ways |= {"batch": ways["unary"], "stream": self._target(port, 0, stream=True)}
        return {way: target for way, target in ways.items() if way in self.offers | {"unary"}}

    def _target(self, port: int, model: int, *, stream: bool = False) -> Target:
        if self.http_path:
            path = f"/{MODELS[model]}" if model else self.http_path
            return HttpTarget(f"http://127.0.0.1:{port}{path}", self.http_field, self.http_listed)
        protocol = "raw" if self.protocol == "gRPC" else "open inference"
        return GrpcTarget(f"127.0.0.1:{port}", protocol, MODELS[model], stream)

    def command(self, port: int) -> list[str]:
        """Return the command line that serves on a port."""
        python = str(environments.python(self.folder))
        if self.module:
            return [python, "-m", *(part.format(port=port) for part in self.module)]
        return [python, str(HERE / self.folder / "server.py"), str(port)]

    def compiled(self) -> "Peer":
        """Return it with the compiled model instead of TorchScript."""
        environment = {**(self.environment or {}), "COMPILED": "1"}
        return replace(
            self,
            name=f"{self.name}-compiled",
            title=f"{self.title}, compiled",
            home=self.folder,
            offers=frozenset(),
            environment=environment,
        )

    @contextmanager
    def running(
        self, settings: Settings, log: Path
    ) -> Iterator[tuple[dict[Way, Target], subprocess.Popen[bytes]]]:
        """Start it; its output goes to `log`. It may not be ready yet inside the block."""
        port = free_ports(3)
        own = settings.environment() | dict(self.environment or {})
        path = os.pathsep.join([str(environments.folder(self.folder) / "bin"), os.environ["PATH"]])
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command(port),
                cwd=HERE / self.folder,
                env={**os.environ, **own, "PATH": path},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its own processes end with it
            )
            try:
                yield callable_ways(self.targets(port), settings), process
            finally:
                end(process)


def callable_ways(targets: Mapping[Way, Target], settings: Settings) -> dict[Way, Target]:
    """Return the targets without that of a second model where there is none."""
    pair = len(settings.models) > 1
    return {way: target for way, target in targets.items() if pair or way != "second"}


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server that leads a session, and whatever it started there."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# Those that were ahead with TorchScript.
WITH_COMPILED = ("queue", "litserve", "pytriton")

PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            name="litserve",
            title="LitServe",
            package="litserve",
            protocol="HTTP, JSON",
            offers=frozenset({"second"}),
            http_path="/predict",
            http_field="image",
        ),
        Peer(
            name="ray",
            title="Ray Serve",
            package="ray",
            protocol="HTTP",
            offers=frozenset({"second"}),
            http_path="/",
            environment={"RAY_DISABLE_IMPORT_WARNING": "1", "RAY_USAGE_STATS_ENABLED": "0"},
        ),
        Peer(
            name="mlserver",
            title="MLServer",
            package="mlserver",
            protocol="gRPC, OIP v2",
            offers=frozenset({"batch", "second"}),
        ),
        Peer(
            name="bentoml",
            title="BentoML",
            package="bentoml",
            protocol="HTTP, JSON",
            http_path="/classify",
            http_field="photos",
            http_listed=True,
            module=(
                "bentoml",
                "serve",
                "service:Served",
                "--host",
                "127.0.0.1",
                "--port",
                "{port}",
            ),
            environment={"BENTOML_DO_NOT_TRACK": "true"},
        ),
        Peer(
            name="pytriton",
            title="Triton (pytriton)",
            package="nvidia-pytriton",
            protocol="gRPC, OIP v2",
            offers=frozenset({"batch", "stream", "second"}),
            # Triton embeds Python and has to find the library of this very interpreter.
            environment={"LD_LIBRARY_PATH": environments.library_path()},
        ),
        Peer(name="grpcio", title="grpcio, no batches", package="grpcio", protocol="gRPC"),
        Peer(name="queue", title="queue on grpc.aio", package="grpcio", protocol="gRPC"),
    )
}
