"""Kill one replica, add one, roll all, under load: ``python -m tests.load.rollout REPOSITORY``.

Replicas listen on addresses of their own in a network namespace, clients find them through a
name server and balance by themselves, as over a headless Service. Prints one JSON object. Run it
with ``unshare --net --mount``: it changes /etc/resolv.conf and the loopback interface.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from client import AsyncClient
from client.errors import ClientError
from tests.load.names import NameServer

NAME = "menagerie-headless.menagerie:50051"
ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "examples" / "photos" / "cat.2000.jpg"
CLIENTS = 6
PAUSE_S = 0.02  # leaves the replicas that start beside it some of the cores
# In Kubernetes: a pod's address leaves the endpoints a moment after the pod is gone.
STALE_S = 1.0
# deploy/k8s has 30 s; the clients ask for names again when a connection ends.
CONNECTION_AGE_S = 4
# Longer than a connection lives: whoever was connected has asked for names again by then.
SHUTDOWN_DELAY_S = 6
SETTLE_S = 60


@dataclass
class Cluster:
    """The replicas, by address, and the names that lead to them."""

    repository: str
    names: NameServer
    running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    started: int = 0

    async def add(self, count: int) -> list[str]:
        """Start replicas side by side; each gets its name once it is ready."""
        return list(await asyncio.gather(*(self._start() for _ in range(count))))

    async def _start(self) -> str:
        self.started += 1
        host = f"127.0.1.{self.started}"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "server", "--repository", self.repository, "--insecure",
            "--host", host, "--metrics-host", host, "--log-request-share", "0",
            "--max-connection-age-s", str(CONNECTION_AGE_S),
            "--shutdown-delay-s", str(SHUTDOWN_DELAY_S),
            "--engine", "torchscript",
            cwd=ROOT, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        while b'"message": "ready"' not in await process.stderr.readline():
            assert process.returncode is None, "a replica did not start"
        self.running[host] = process
        self.names.addresses.append(host)
        return host

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
        return await process.wait()

    def served(self) -> dict[str, float]:
        """Requests answered OK, by replica."""
        return {host: _answered(host) for host in self.running}


@dataclass
class Load:
    """What became of the calls."""

    calls: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, photo: bytes) -> None:
        """One client's closed loop."""
        async with AsyncClient(NAME, timeout_s=20) as client:
            while not self.stop.is_set():
                self.calls += 1
                try:
                    await client.classify(photo)
                except ClientError as error:
                    self.failures[f"{type(error).__name__}: {error}"] += 1
                await asyncio.sleep(PAUSE_S)


def _answered(host: str) -> float:
    with urllib.request.urlopen(f"http://{host}:9090/metrics", timeout=10) as page:
        text = page.read().decode()
    return sum(
        sample.value
        for metric in text_string_to_metric_families(text)
        for sample in metric.samples
        if sample.name == "menagerie_requests_total" and sample.labels["code"] == "OK"
    )


async def _seconds_to_share(cluster: Cluster, host: str) -> float:
    """How long until ``host`` gets at least half of its fair share of the traffic."""
    began = time.monotonic()
    before = cluster.served()
    while time.monotonic() - began < SETTLE_S:
        await asyncio.sleep(1)
        now = cluster.served()
        grown = {name: now[name] - before[name] for name in now}
        if grown[host] >= sum(grown.values()) / len(grown) / 2 > 0:
            return time.monotonic() - began
        before = now
    return float("inf")


async def drill(repository: str) -> dict[str, object]:
    """All of it; what happened."""
    cluster, load = Cluster(repository, NameServer()), Load()
    first = await cluster.add(3)
    photo = PHOTO.read_bytes()
    loops = [asyncio.create_task(load.run(photo)) for _ in range(CLIENTS)]
    await asyncio.sleep(2)
    spread = cluster.served()
    await cluster.kill(first[0])
    (added,) = await cluster.add(1)
    share_s = await _seconds_to_share(cluster, added)
    old = list(cluster.running)
    await cluster.add(3)
    codes = [await cluster.stop(host) for host in old]
    await asyncio.sleep(2)
    load.stop.set()
    await asyncio.gather(*loops)
    last = cluster.served()
    for process in cluster.running.values():
        process.kill()
        await process.wait()
    return {
        "calls": load.calls,
        "failures": dict(load.failures),
        "first_spread": spread,
        "new_replica_share_s": share_s,
        "exit_codes": codes,
        "last_spread": last,
    }


def main() -> None:
    """Set up the network, run the drill, print what happened."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # noqa: S607
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as resolver:
        resolver.write("nameserver 127.0.0.1\noptions timeout:1\n")
        resolver.flush()
        subprocess.run(["mount", "--bind", resolver.name, "/etc/resolv.conf"], check=True)  # noqa: S607
        sys.stdout.write(json.dumps(asyncio.run(drill(sys.argv[1]))) + "\n")


if __name__ == "__main__":
    os.environ.pop("MENAGERIE_SERVER", None)
    main()
