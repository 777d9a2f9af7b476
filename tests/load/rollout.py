"""Kill one replica, add one, roll all, under load: ``python -m tests.load.rollout REPOSITORY``.

Replicas listen on addresses of their own in a network namespace, clients find them through a
name server and balance by themselves, as over a headless Service. Prints one JSON object. Run it
with ``unshare --net --mount``: it changes /etc/resolv.conf and the loopback interface.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from client import AsyncClient
from client.errors import ClientError
from tests.load.cluster import NAME, ROOT, Cluster, name_server
from tests.load.names import NameServer

PHOTO = ROOT / "examples" / "photos" / "cat.2000.jpg"
CLIENTS = 6
PAUSE_S = 0.02  # leaves the replicas that start beside it some of the cores
SETTLE_S = 60


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


async def drill(repository: str, names: NameServer) -> dict[str, object]:
    """All of it; what happened."""
    cluster, load = Cluster(repository, names), Load()
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
        process.wait()
    return {
        "calls": load.calls,
        "failures": dict(load.failures),
        "first_spread": spread,
        "new_replica_share_s": share_s,
        "exit_codes": codes,
        "last_spread": last,
    }


def main() -> None:
    """Run the drill, print what happened."""
    with name_server() as names:
        sys.stdout.write(json.dumps(asyncio.run(drill(sys.argv[1], names))) + "\n")


if __name__ == "__main__":
    os.environ.pop("MENAGERIE_SERVER", None)
    main()
