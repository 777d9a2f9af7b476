"""Does a plan hold? ``python -m benchmarks.planning``

``python -m client plan`` reckons replicas from what batches take. Here one replica of each plan is
simulated at its share of the load, with the server's own queue and cost model, and so is one of
the fewest replicas that would have done: what the plan says, what comes of it, what it wastes.
"""

import argparse
import json
import random
import statistics
from collections.abc import Mapping
from math import inf
from typing import Any

from benchmarks.batching_policy import LANES, LARGEST, SECONDS
from benchmarks.simulation import Policy, SimulatedEngine, Simulation, poisson
from client.planning import plan
from client.results import Capacity

OURS = Policy("ours", 0.0, informed=True, queue_limit=10**9)
# By name: seconds of a batch, lanes, largest batch.
ENGINES: dict[str, tuple[Mapping[int, float], int, int]] = {
    "ResNet-18, two lanes of an AMX CPU": (SECONDS, LANES, LARGEST),
    "one slow lane": ({1: 0.010, 8: 0.072, 16: 0.140}, 1, 16),
    "a GPU": ({1: 0.0016, 8: 0.0022, 32: 0.0041, 64: 0.0069}, 1, 64),
}
TARGETS = {  # images a second, and p99 in seconds
    "ResNet-18, two lanes of an AMX CPU": ((50, 0.05), (300, 0.1), (5000, 0.1), (5000, 0.3)),
    "one slow lane": ((20, 0.05), (200, 0.1), (1000, 0.5)),
    "a GPU": ((2000, 0.02), (5000, 0.1), (50_000, 0.02)),
}


def capacity_of(name: str) -> Capacity:
    """What a server with this engine would say of itself, its photos decoded elsewhere."""
    seconds, lanes, largest = ENGINES[name]
    return Capacity(seconds, lanes, largest, "cuda", 0.0, 1)


def simulated_p99_s(capacity: Capacity, per_s: float, arrivals: int, seed: int = 0) -> float:
    """The slowest answer in a hundred of one replica at this load."""
    engine = SimulatedEngine(capacity.batch_seconds, capacity.lanes, capacity.max_batch_size)
    simulation = Simulation(engine, OURS, (inf,), seed)
    outcome = simulation.run(poisson(per_s, random.Random(seed)), arrivals / per_s)
    return sorted(outcome.waits_s)[int(0.99 * len(outcome.waits_s))]


def fewest(capacity: Capacity, rate_per_s: float, p99_s: float, most: int, arrivals: int) -> int:
    """The fewest replicas that keep the target in simulation; ``most`` is known to."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if simulated_p99_s(capacity, rate_per_s / middle, arrivals) <= p99_s:
            high = middle
        else:
            low = middle + 1
    return low


def any_capacity(chance: random.Random) -> tuple[Capacity, float, float]:
    """An engine with batch times from steep to nearly flat, a load and a target."""
    first_s = chance.uniform(0.0005, 0.02)
    more_s = chance.uniform(0.05, 1.0) * first_s
    largest, lanes = chance.choice([8, 16, 32, 64]), chance.choice([1, 1, 2, 4])
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64) if size <= largest]
    seconds = {size: first_s + more_s * (size - 1) for size in sizes}
    capacity = Capacity(seconds, lanes, largest, "cuda", 0.0, 1)
    rate_per_s = chance.uniform(0.2, 30) * lanes / first_s
    return capacity, rate_per_s, chance.uniform(3, 40) * first_s


def main() -> None:
    """Print a line for each plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arrivals", type=int, default=20_000, help="simulated, of one replica")
    parser.add_argument("--random", type=int, default=0, help="so many engines drawn at random")
    options = parser.parse_args()
    cases = [(name, capacity_of(name), *target) for name in ENGINES for target in TARGETS[name]]
    chance = random.Random(1)
    if options.random:
        cases = [(f"random {n}", *any_capacity(chance)) for n in range(options.random)]
    found = [_held(*case, options.arrivals) for case in cases]
    held = [one for one in found if one["simulated_p99_ms"] <= one["p99_ms"]]
    waste = statistics.mean(one["replicas"] / one["fewest_by_simulation"] for one in found)
    print(f"{len(held)} of {len(found)} plans hold, with {waste:.2f} times the fewest replicas")


def _held(
    name: str, capacity: Capacity, rate_per_s: float, p99_s: float, arrivals: int
) -> dict[str, Any]:
    planned = plan(capacity, rate_per_s, p99_s)
    found_s = simulated_p99_s(capacity, planned.load.per_s, arrivals)
    line = {
        "engine": name,
        "rps": round(rate_per_s),
        "p99_ms": round(p99_s * 1000, 1),
        "replicas": planned.replicas,
        "busy": round(planned.load.busy, 2),
        "planned_p99_ms": round(planned.load.p99_s * 1000, 1),
        "simulated_p99_ms": round(found_s * 1000, 1),
        "fewest_by_simulation": fewest(capacity, rate_per_s, p99_s, planned.replicas, arrivals),
    }
    print(json.dumps(line))
    return line


if __name__ == "__main__":
    main()
