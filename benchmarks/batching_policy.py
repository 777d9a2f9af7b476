"""The batching policy against fixed delays, simulated: ``python -m benchmarks.batching_policy``.

A discrete-event simulation drives the server's own classes (queue, admission, cost model) with
measured batch times, and beside them the rule of other servers: close a batch when it is full or
its oldest item has waited a fixed time; refuse when the queue is full; drop the expired when a
batch forms. Goodput is what is answered within the deadline, over the most that the engine can do.
"""

import argparse
import json
import math
import random
import statistics
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.simulation import Policy, SimulatedEngine, Simulation, poisson

# ResNet-18 at 224 pixels, bf16, one thread of an AMX core, ms by batch size: frozen TorchScript
# of torch 2.15, the best of three warm-ups.
MEASURED_MS = (
    9.8, 14.6, 20.8, 28.0, 36.2, 44.1, 50.1, 57.3,
    63.3, 69.9, 80.3, 85.5, 95.2, 102.0, 107.8, 116.6,
)  # fmt: skip
LANES = 2
LARGEST = len(MEASURED_MS)
LOADS = (0.3, 0.6, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0)
SECONDS = {size: ms / 1000 for size, ms in enumerate(MEASURED_MS, 1)}
SHRUNK = (160 / 224) ** 2  # of the time: an input of 160 pixels
ENGINE = SimulatedEngine(SECONDS, LANES, LARGEST, shrunk=SHRUNK)
CAPACITY = LANES * max(size / seconds for size, seconds in SECONDS.items())  # items a second


POLICIES = (
    Policy("ours", 0.0, informed=True),
    Policy("ours with brownout", 0.0, informed=True, shrinks=True),
    Policy("no delay, size or idle", 0.0, informed=False),
    Policy("fixed delay of 5 ms", 0.005, informed=False),
    Policy("fixed delay of 50 ms", 0.050, informed=False),
    # What an operator who knows the model, the deadline and the load would set by hand.
    Policy("no delay, queue of 40", 0.0, informed=False, queue_limit=40),
)


def bursty(rate: float, chance: random.Random) -> Iterator[float]:
    """Quiet at half the rate, and bursts of a tenth of the time at 5.5 times the rate (MMPP)."""
    now, burst, until = 0.0, False, chance.expovariate(1 / 4.5)
    while True:
        now += chance.expovariate(rate * (5.5 if burst else 0.5))
        while now > until:
            burst = not burst
            until += chance.expovariate(1 / (0.5 if burst else 4.5))
        yield now


def diurnal(rate: float, chance: random.Random) -> Iterator[float]:
    """A day in a minute: from 0.2 to 1.8 times the rate, by thinning (Lewis and Shedler 1979)."""
    for when in poisson(1.8 * rate, chance):
        if chance.random() < (1 + 0.8 * math.sin(2 * math.pi * when / 60)) / 1.8:
            yield when


SHAPES = {"Poisson": poisson, "bursty": bursty, "diurnal": diurnal}


def measure(shape: str, load: float, policy: Policy, seed: int, seconds: float) -> dict[str, float]:
    """Figures of one run."""
    simulation = Simulation(ENGINE, policy, (DEADLINE_S,), seed)
    arrivals = SHAPES[shape](load * CAPACITY, random.Random(f"{shape} {load} {seed}"))
    outcome = simulation.run(arrivals, seconds)
    arrived = outcome.in_time + outcome.late + outcome.refused + outcome.expired
    waits = sorted(outcome.waits_s)
    return {
        "goodput": outcome.in_time / seconds / CAPACITY,
        "p99_ms": 1000 * waits[int(0.99 * (len(waits) - 1))],
        "p50_ms": 1000 * waits[len(waits) // 2],
        "mean_batch": statistics.mean(outcome.batches),
        "shrunk_share": outcome.shrunk / len(waits),
        "late_share": outcome.late / arrived,
        "refused_share": outcome.refused / arrived,
        "expired_share": outcome.expired / arrived,
    }


DEADLINE_S = 0.3


def main() -> None:
    """Run all; write JSON and plots, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/plots"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=120.0, help="simulated")
    options = parser.parse_args()
    results: dict[str, dict[str, dict[str, list[dict[str, float]]]]] = {}
    for shape in SHAPES:
        results[shape] = {
            policy.name: {
                str(load): [
                    measure(shape, load, policy, seed, options.seconds)
                    for seed in range(options.seeds)
                ]
                for load in LOADS
            }
            for policy in POLICIES
        }
        _print(shape, results[shape])
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "batching-policy.json").write_text(json.dumps(results) + "\n")
    _plot(results, options.output / "batching-policy.png")


def _print(shape: str, by_policy: dict[str, dict[str, list[dict[str, float]]]]) -> None:
    print(
        f"\n{shape}: goodput over capacity (range of seeds); p50 and p99 in ms; mean batch;"
        " late; shrunk"
    )
    for load in LOADS:
        for name, by_load in by_policy.items():
            runs = by_load[str(load)]
            goods = sorted(run["goodput"] for run in runs)
            middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            print(
                f"{load:4.1f} {name:24s} {middle['goodput']:.3f}"
                f" ({goods[0]:.3f} to {goods[-1]:.3f})"
                f" {middle['p50_ms']:6.0f} {middle['p99_ms']:6.0f} {middle['mean_batch']:5.1f}"
                f" {middle['late_share']:7.2%} {middle['shrunk_share']:7.2%}"
            )


def _plot(results: dict[str, dict[str, dict[str, list[dict[str, float]]]]], path: Path) -> None:
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots(2, len(results), sharex=True)
    for column, (shape, by_policy) in enumerate(results.items()):
        for (name, by_load), style in zip(
            by_policy.items(), ("-o", "-P", "-s", "--^", ":v", "-.d"), strict=True
        ):
            for row, key in enumerate(("goodput", "p99_ms")):
                medians = [
                    statistics.median(run[key] for run in by_load[str(load)]) for load in LOADS
                ]
                axes[row][column].plot(LOADS, medians, style, label=name, markersize=4)
        axes[0][column].set_title(f"{shape} arrivals")
        axes[1][column].set_xlabel("offered load over capacity")
        axes[1][column].axhline(1000 * DEADLINE_S, color="grey", linewidth=0.8)
        for row in (0, 1):
            axes[row][column].grid(alpha=0.3)
            axes[row][column].set_ylim(bottom=0)
    axes[0][0].set_ylabel("answered within the deadline,\nover capacity")
    axes[1][0].set_ylabel("p99 of the answered (ms);\nthe line is the deadline")
    axes[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
