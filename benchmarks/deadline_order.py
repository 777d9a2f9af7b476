"""Earliest deadline first against first come first: ``python -m benchmarks.deadline_order``.

The simulation of ``batching_policy`` with one client whose requests have different deadlines. Both
orders refuse what would be late; the earliest-first order refuses, too, what would make somebody
late that it overtakes.
"""

import argparse
import json
import random
import statistics
from math import inf
from pathlib import Path

from benchmarks.batching_policy import CAPACITY, ENGINE, POLICIES, SHAPES
from benchmarks.simulation import Simulation
from server.pipeline.fair import FairQueue
from server.pipeline.queue import BatchQueue, Ticket

MIXES_S = {
    "all 300 ms": (0.3,),
    "100 ms, 300 ms, 1 s": (0.1, 0.3, 1.0),
    "150 ms, 2 s": (0.15, 2.0),
    "300 ms twice, 5 s": (0.3, 0.3, 5.0),
}
LOADS = (0.8, 0.95, 1.2, 2.0)


class _InOrder(FairQueue[Ticket[None]]):
    """Whoever came first, whatever the deadlines."""

    def add(self, item: Ticket[None], client: str, deadline: float = inf) -> None:  # noqa: ARG002
        super().add(item, client)

    def ahead_of(self, client: str, deadline: float = inf) -> int:  # noqa: ARG002
        return super().ahead_of(client)

    def overtaken_by(self, client: str, deadline: float) -> list[tuple[int, Ticket[None]]]:  # noqa: ARG002
        return []


class FirstCome(BatchQueue[None]):
    """The server's queue with that order."""

    def add(self, ticket: Ticket[None]) -> None:
        """Let a ticket wait."""
        self._levels.setdefault(ticket.priority, _InOrder())
        super().add(ticket)


ORDERS: dict[str, type[BatchQueue[None]]] = {
    "first come": FirstCome,
    "earliest deadline": BatchQueue,
}


def measure(
    mix: str, shape: str, load: float, order: str, seed: int, seconds: float
) -> dict[str, float]:
    """Figures of one run: goodput over capacity, and the 99th percentile of waits in ms."""
    simulation = Simulation(ENGINE, POLICIES[0], MIXES_S[mix], seed, ORDERS[order])
    arrivals = SHAPES[shape](load * CAPACITY, random.Random(f"{shape} {load} {seed}"))
    outcome = simulation.run(arrivals, seconds)
    arrived = outcome.in_time + outcome.late + outcome.refused + outcome.expired
    waits = sorted(outcome.waits_s)
    return {
        "goodput": outcome.in_time / seconds / CAPACITY,
        "p99_ms": 1000 * waits[int(0.99 * (len(waits) - 1))],
        "late_share": (outcome.late + outcome.expired) / arrived,
    }


def main() -> None:
    """Run all; write JSON, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/plots"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="simulated")
    options = parser.parse_args()
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    print("| deadlines | arrivals, load | goodput: first come | earliest deadline | too late |")
    print("|---|---|---|---|---|")
    for mix in MIXES_S:
        for shape in ("Poisson", "bursty"):
            for load in LOADS:
                results[f"{mix}; {shape} {load}"] = runs = {
                    order: [
                        measure(mix, shape, load, order, seed, options.seconds)
                        for seed in range(options.seeds)
                    ]
                    for order in ORDERS
                }
                good = [_middle(each, "goodput") for each in runs.values()]
                late = [_middle(each, "late_share") for each in runs.values()]
                print(
                    f"| {mix} | {shape} {load:g} | {good[0]:.3f} | {good[1]:.3f}"
                    f" | {late[0]:.2%}, {late[1]:.2%} |"
                )
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "deadline-order.json").write_text(json.dumps(results) + "\n")


def _middle(runs: list[dict[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


if __name__ == "__main__":
    main()
