"""The peers: what each is, how it is started, how it is called."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import environments
from benchmarks.peers.environments import HERE
from benchmarks.peers.targets import GrpcTarget, HttpTarget
from benchmarks.processes import free_ports
from client.bench.sender import Target

_STOP_S = 20.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What all peers are told alike.

    Attributes:
        model: The TorchScript file.
        side: Of its input, in pixels.
        max_batch: Images in a batch.
        max_delay_ms: How long the first of a batch waits for others, where a peer asks.
        workers: Lanes of one thread each.
    """

    model: Path
    side: int
    max_batch: int = 8
    max_delay_ms: float = 5.0
    workers: int = 2

    def environment(self) -> dict[str, str]:
        """Return them as variables; ``shared/classifier.py`` reads them."""
        return {
            "MODEL": str(self.model),
            "SIDE": str(self.side),
            "MAX_BATCH": str(self.max_batch),
            "MAX_DELAY_MS": str(self.max_delay_ms),
            "WORKERS": str(self.workers),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(HERE / "shared")]),
            "PYTHONWARNINGS": "ignore",
        }


@dataclass(frozen=True, slots=True)
class Peer:
    """Another server.

    Attributes:
        name: Its folder here.
        title: What people call it.
        package: The distribution whose version counts.
        protocol: How it is called, for people.
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
    http_path: str = ""
    http_field: str = ""
    http_listed: bool = False
    module: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None

    def target(self, port: int) -> Target:
        """Return how to call it on a port of this host."""
        if self.http_path:
            url = f"http://127.0.0.1:{port}{self.http_path}"
            return HttpTarget(url, self.http_field, self.http_listed)
        protocol = "raw" if self.protocol == "gRPC" else "open inference"
        return GrpcTarget(f"127.0.0.1:{port}", protocol)

    def command(self, port: int) -> list[str]:
        """Return the command line that serves on a port."""
        python = str(environments.python(self.name))
        if self.module:
            return [python, "-m", *(part.format(port=port) for part in self.module)]
        return [python, str(HERE / self.name / "server.py"), str(port)]

    @contextmanager
    def running(
        self, settings: Settings, log: Path
    ) -> Iterator[tuple[Target, subprocess.Popen[bytes]]]:
        """Start it; its output goes to `log`. It may not be ready yet inside the block."""
        port = free_ports(3)
        own = settings.environment() | dict(self.environment or {})
        path = os.pathsep.join([str(environments.folder(self.name) / "bin"), os.environ["PATH"]])
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command(port),
                cwd=HERE / self.name,
                env={**os.environ, **own, "PATH": path},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its own processes end with it
            )
            try:
                yield self.target(port), process
            finally:
                end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server that leads a session, and whatever it started there."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            name="litserve",
            title="LitServe",
            package="litserve",
            protocol="HTTP, JSON",
            http_path="/predict",
            http_field="image",
        ),
        Peer(
            name="ray",
            title="Ray Serve",
            package="ray",
            protocol="HTTP",
            http_path="/",
            environment={"RAY_DISABLE_IMPORT_WARNING": "1", "RAY_USAGE_STATS_ENABLED": "0"},
        ),
        Peer(name="mlserver", title="MLServer", package="mlserver", protocol="gRPC, OIP v2"),
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
            # Triton embeds Python and has to find the library of this very interpreter.
            environment={"LD_LIBRARY_PATH": environments.library_path()},
        ),
        Peer(name="grpcio", title="grpcio, no batches", package="grpcio", protocol="gRPC"),
        Peer(name="queue", title="queue on grpc.aio", package="grpcio", protocol="gRPC"),
    )
}
