"""``python -m tests.load.under_attack``: what attacks cost good clients.

Good clients, connected before, classify photos by the bundled model; by turns, in peace and while
attackers do their worst from processes of their own. Prints, for each attack, the p99 of both in
milliseconds and their ratio, as JSON; fails where it is above 2. Attackers share the machine with
the server and get what time it leaves, as if they had one of their own.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from client import AsyncClient
from client.errors import ClassifyError
from tests.integration.conftest import PHOTOS, ROOT, ZOO, run_server

MAX_RATIO = 2.0
ATTACKERS = {
    "rapid reset": (),
    "ping flood": (),
    "slow reader": (),
    "idle connections": ("9000",),
    "half-open streams": (),
}
_CALLERS = 4
_PAUSE_S = 0.02  # of each between its calls
_SETTLE_S = 1.0  # between turns


@dataclass
class Latencies:
    """Of good clients, in seconds."""

    peace: list[float] = field(default_factory=list)
    attack: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    def told(self) -> dict[str, object]:
        """p99 in milliseconds, and their ratio."""
        peace, attack = (float(np.quantile(one, 0.99)) for one in (self.peace, self.attack))
        return {
            "calls": len(self.peace) + len(self.attack),
            "p99_in_peace_ms": round(1000 * peace, 1),
            "p99_under_attack_ms": round(1000 * attack, 1),
            "ratio": round(attack / peace, 2),
            "refused": dict(self.refused),
        }


@contextmanager
def attacked(name: str, address: str, attackers: int) -> Iterator[None]:
    """An attack goes on inside the block."""
    command = ["nice", "-n", "19", sys.executable, "-m", "tests.load.attacks", name, address]
    command += ATTACKERS[name]
    running = [subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) for _ in range(attackers)]
    try:
        yield
    finally:
        for attacker in running:
            attacker.communicate()


async def good_clients(
    client: AsyncClient, photo: bytes, seconds: float, refused: Counter[str]
) -> list[float]:
    """The latencies of their calls, in seconds; those that are refused are counted apart."""
    latencies = []
    until = time.monotonic() + seconds

    async def calls() -> None:
        while time.monotonic() < until:
            began = time.perf_counter()
            try:
                await client.classify(photo)
                latencies.append(time.perf_counter() - began)
            except ClassifyError as error:
                refused[type(error).__name__] += 1
            await asyncio.sleep(_PAUSE_S)

    await asyncio.gather(*(calls() for _ in range(_CALLERS)))
    return latencies


async def measure(
    address: str, name: str, rounds: int, seconds: float, attackers: int
) -> dict[str, object]:
    """By turns in peace and under an attack."""
    photo = (PHOTOS / "cat.2000.jpg").read_bytes()
    found = Latencies()
    async with AsyncClient(address) as client:
        await good_clients(client, photo, 1.0, Counter())
        for _ in range(rounds):
            found.peace += await good_clients(client, photo, seconds, found.refused)
            with attacked(name, address, attackers):
                await asyncio.sleep(_SETTLE_S)
                found.attack += await good_clients(client, photo, seconds, found.refused)
            await asyncio.sleep(_SETTLE_S)
    return {"attack": name, **found.told()}


def main() -> int:
    """Measure all attacks; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.under_attack", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each turn")
    parser.add_argument("--attackers", type=int, default=1)
    parser.add_argument("--repository", type=Path, default=ZOO)
    parser.add_argument("--only", choices=ATTACKERS)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # servers and attackers inherit it
    worst = 0.0
    for name in [arguments.only] if arguments.only else ATTACKERS:
        with run_server(
            "--repository", str(arguments.repository), "--log-request-share", "0", forked=False
        ) as at:
            turns = (arguments.rounds, arguments.seconds, arguments.attackers)
            result = asyncio.run(measure(at.grpc, name, *turns))
        worst = max(worst, float(str(result["ratio"])))
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
    return 0 if worst <= MAX_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
