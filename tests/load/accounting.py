"""``python -m tests.load.accounting --requests 200000``: nothing is lost, whatever goes wrong.

Requests with ids of their own, over unary, batch and stream calls, while images fail in the
engine, decode slowly or are damaged, callers leave or give no time, the network is slow or cut,
the server stands still, its disks are full, that of its log too, its wall clock is set to another
day, its processes are killed or restarted. At the end every
id has one answer; every answer has the scores that were computed here for its image; and the
server's log and counters, in each of its lives, agree with the client's ledger id by id.

Prints what was done and found, as JSON.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from models.manifest import Abstain, Calibration
from tests.load.deployment import Deployment, Life, reconcile
from tests.load.faults import Faults, turns
from tests.load.photos import FLAGS, Photos, photos, publish_touchy_artifact
from tests.load.proxy import Proxy
from tests.load.surroundings import SmallDisks, WallClock
from tests.load.traffic import Meanwhile, Mix, Traffic
from tests.load.watching import captured, holdings

MIX = Mix(bad=0.10, poison=0.005, slow=0.005, cancelled=0.05, hurried=0.02)
# A model that is never sure enough: every photo is worth keeping, as far as the disk goes.
NEVER_SURE = Calibration(abstain=Abstain(threshold=1.0, risk=0.1, confidence=0.9, coverage=0.5))
ONE_PROCESS = (
    "slow_network", "cut_network", "stall", "fill_log_disk", "set_wall_clock", "restart",
)  # fmt: skip
SEVERAL = ("cut_network", "kill_front", "kill_engine", "set_wall_clock", "restart")


@dataclass(frozen=True)
class Plan:
    """Which faults, how often, among how many requests."""

    requests: int
    fronts: int
    faults: Sequence[str]
    times: int


def plans(requests: int, times: int) -> list[Plan]:
    """One process, then several."""
    return [
        Plan(requests // 2, 1, ONE_PROCESS, times),
        Plan(requests // 2, 2, SEVERAL, times),
    ]


async def account(plan: Plan, root: Path, sent: Photos, seed: int) -> dict[str, object]:
    """Carry a plan out; returns what happened.

    Raises:
        AssertionError: Something was lost, wrong or counted wrongly.
    """
    disks, clock = SmallDisks(root), WallClock(root)
    disk = disks.prefix if plan.fronts == 1 else ()
    capture = ("--capture", str(disks.capture), "--capture-per-minute", "100000")
    flags = ("--repository", str(root / "models"), "--lame-duck-s", "2", *FLAGS)
    flags += ("--log-request-share", "1", *(capture if disk else ()))
    traffic = Traffic(sent, MIX, seed)
    impossible = {"fill_log_disk": not disk, "set_wall_clock": not clock.prefix}
    injected = [name for name in plan.faults if not impossible.get(name)]
    share = plan.requests // (len(injected) + 1)
    kept: dict[str, int] = {}
    async with (
        Proxy() as proxy,
        Deployment(flags, plan.fronts, proxy, (*disk, *clock.prefix)) as deployment,
    ):
        faults = Faults(deployment, disks, clock)
        await traffic.run(proxy.address, share)
        held = [holdings(deployment.server.process.pid)]
        for name in injected:
            if disk:
                kept = captured(deployment.server.metrics)
            fault: Meanwhile = turns(getattr(faults, name), plan.times)
            await traffic.run(proxy.address, share, connections=4, meanwhile=fault)
        held.append(holdings(deployment.server.process.pid))
        await deployment.stop()
    if disk:
        assert kept["failed"] > 0, f"the disk was never full: {kept}"
    for name, felt in (("fill_log_disk", "dropped"), ("set_wall_clock", "misdated")):
        if name in injected:
            assert any(getattr(life, felt) for life in deployment.lives), f"{name}: nothing came"
    return {
        "fronts": plan.fronts,
        "faults": dict.fromkeys(injected, plan.times),
        "held": [asdict(one) for one in held],
        "disk_full": kept.get("failed", 0),
        **reconcile(traffic.ledger, deployment.lives),
        "outcomes": dict(traffic.ledger.outcomes),
        "lost": dict(traffic.ledger.lost),
        "lives": [_told(life) for life in deployment.lives],
    }


def _told(life: Life) -> dict[str, object]:
    counts = None if life.counts is None else {k: v for k, v in life.counts.items() if v}
    told = {"ended_by": life.ended_by, "logged": len(life.log), "counted": counts}
    return {**told, "dropped_log_lines": life.dropped, "set_clock_lines": life.misdated}


def publish(root: Path) -> None:
    """The model that all this is done to."""
    (root / "models").mkdir()
    publish_touchy_artifact(root / "models", calibration=NEVER_SURE)


def main() -> None:
    """Carry out both plans."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.accounting", description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--times", type=int, default=5, help="how often each fault is injected")
    parser.add_argument("--seed", type=int, default=20)
    arguments = parser.parse_args()
    sent = photos(arguments.seed)
    for number, plan in enumerate(plans(arguments.requests, arguments.times)):
        with tempfile.TemporaryDirectory() as folder:
            publish(Path(folder))
            result = asyncio.run(account(plan, Path(folder), sent, arguments.seed + number))
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
