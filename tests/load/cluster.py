"""Replicas behind a name, as over a headless Service, in a network namespace of their own."""

import asyncio
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.load.names import NameServer
from tests.programs import Program

NAME = "menagerie-headless.menagerie:50051"
ROOT = Path(__file__).parents[2]
UNSHARE = ("unshare", "--net", "--mount")
# In Kubernetes: a pod's address leaves the endpoints a moment after the pod is gone.
STALE_S = 1.0
# deploy/k8s has 30 s; the clients ask for names again when a connection ends.
CONNECTION_AGE_S = 2
# Longer than a connection lives: whoever was connected has asked for names again by then.
SHUTDOWN_DELAY_S = 4


@dataclass
class Cluster:
    """The replicas, by address, and the names that lead to them."""

    repository: str
    names: NameServer
    running: dict[str, Program] = field(default_factory=dict)
    started: int = 0

    async def add(self, count: int) -> list[str]:
        """Start replicas side by side; each gets its name once it is ready."""
        return list(await asyncio.gather(*(self._start() for _ in range(count))))

    async def _start(self) -> str:
        self.started += 1
        host = f"127.0.1.{self.started}"
        self.running[host] = await asyncio.to_thread(self._replica, host)
        self.names.addresses.append(host)
        return host

    def _replica(self, host: str) -> Program:
        """A replica that is ready."""
        process = Program(
            "server", "--repository", self.repository, "--insecure",
            "--host", host, "--metrics-host", host, "--log-request-share", "0",
            "--max-connection-age-s", CONNECTION_AGE_S,
            "--shutdown-delay-s", SHUTDOWN_DELAY_S,
            "--engine", "torchscript",
        )  # fmt: skip
        for line in process.stderr:
            if '"message": "ready"' in line:
                return process
        raise AssertionError("a replica did not start")

    async def kill(self, host: str) -> None:
        """SIGKILL; its name goes a moment later."""
        self.running.pop(host).kill()
        await asyncio.sleep(STALE_S)
        self.names.addresses.remove(host)

    async def stop(self, host: str) -> int:
        """SIGTERM as its name goes; returns the exit code."""
        self.names.addresses.remove(host)
        process = self.running.pop(host)
        process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(process.wait)

    def served(self) -> dict[str, float]:
        """Requests answered OK, by replica."""
        return {host: answered(host) for host in self.running}


@contextmanager
def name_server() -> Iterator[NameServer]:
    """Every name is one of ours inside the block. For a process that `UNSHARE` has started: it
    changes /etc/resolv.conf and the loopback interface."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # noqa: S607
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as resolver:
        resolver.write("nameserver 127.0.0.1\noptions timeout:1\n")
        resolver.flush()
        subprocess.run(["mount", "--bind", resolver.name, "/etc/resolv.conf"], check=True)  # noqa: S607
        yield NameServer()


def answered(host: str, *codes: str) -> float:
    """Requests that a replica has answered with one of `codes`, by default OK."""
    with urllib.request.urlopen(f"http://{host}:9090/metrics", timeout=10) as page:
        text = page.read().decode()
    return sum(
        sample.value
        for metric in text_string_to_metric_families(text)
        for sample in metric.samples
        if sample.name == "menagerie_requests_total" and sample.labels["code"] in (codes or ("OK",))
    )
