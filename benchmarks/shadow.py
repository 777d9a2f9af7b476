"""What shadow traffic costs the requests: ``python -m benchmarks.shadow``.

One server has two versions of ResNet-18. The same photos are classified by turns with no copies
and with copies of a share of the requests going to the other version; what counts is the ratio of
the two medians, and of the 99th percentiles, from parts that lie beside each other in time.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from benchmarks import artifact
from benchmarks.networks import resnet18
from benchmarks.processes import ROOT, free_address, serving
from client import AsyncClient
from client.admin import AdminClient

PHOTOS = ROOT / "examples" / "photos"
NAME = "tried"
TARGET = 1.03


async def latencies(
    address: str, photos: Iterator[bytes], requests: int, in_flight: int, pause_s: float
) -> list[float]:
    """Seconds of each of so many requests, with so many callers that pause between two."""
    left, found = iter(range(requests)), list[float]()
    async with AsyncClient(address, timeout_s=120) as client:

        async def caller() -> None:
            for _ in left:
                photo = next(photos)
                began = time.perf_counter()
                await client.classify(photo)
                found.append(time.perf_counter() - began)
                await asyncio.sleep(pause_s)

        await asyncio.gather(*(caller() for _ in range(in_flight)))
    return found


def copies(metrics: str) -> dict[str, float]:
    """What has become of the copies."""
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=30) as page:
        families = list(text_string_to_metric_families(page.read().decode()))
    counts: dict[str, float] = {}
    for family in families:
        if family.name in ("menagerie_shadow_answers", "menagerie_shadow_dropped"):
            for sample in family.samples:
                what = sample.labels.get("outcome", sample.labels.get("reason", ""))
                counts[what] = sample.value
    return counts


def main() -> None:
    """Run the rounds; print medians and ratios."""
    arguments = _arguments()
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]
    admin, metrics = free_address(), free_address()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            artifact.publish(Path(folder), NAME, resnet18(), arguments.side, photos)
        flags = ["--version-policy", "latest:2", "--log-request-share", "0"]
        flags += ["--admin-port", admin.rpartition(":")[2], *arguments.flags.split()]
        flags += ["--metrics-port", metrics.rpartition(":")[2]]
        with serving(Path(folder), *flags) as address, AdminClient(admin, timeout_s=60) as control:
            source = cycle(photos)
            found: dict[bool, list[tuple[float, float]]] = defaultdict(list)
            # Off, on, on, off: what drifts with time touches both alike.
            for number in range(2 * arguments.rounds):
                for copied in sorted((False, True), reverse=bool(number % 2)):
                    control.set_shadow(NAME, "2", arguments.percent / 100 if copied else 0.0)
                    part = latencies(
                        address, source, arguments.requests, arguments.in_flight,
                        arguments.pause_ms / 1000,
                    )  # fmt: skip
                    told = _percentiles(asyncio.run(part))
                    if number:  # the first round warms up
                        found[copied].append(told)
            outcomes = copies(metrics)
    _report(found, outcomes, arguments)


def _percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(seconds)
    return statistics.median(ordered), ordered[int(0.99 * len(ordered))]


def _report(
    found: dict[bool, list[tuple[float, float]]],
    outcomes: dict[str, float],
    arguments: argparse.Namespace,
) -> None:
    for copied, title in ((False, "no copies"), (True, f"{arguments.percent:g}% copied")):
        p50, p99 = (statistics.median(column) * 1000 for column in zip(*found[copied], strict=True))
        print(f"{title:12s} p50 {p50:7.2f} ms, p99 {p99:7.2f} ms")
    pairs = list(zip(found[True], found[False], strict=True))
    for column, name in ((0, "p50"), (1, "p99")):
        ratios = sorted(one[column] / other[column] for one, other in pairs)
        spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f} in {len(ratios)} pairs"
        print(f"with copies / without, {name}: {statistics.median(ratios):.3f} ({spread})")
    print(f"copies: {outcomes}; target for p50: under {TARGET}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--percent", type=float, default=100.0)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--in-flight", type=int, default=1)
    parser.add_argument("--pause-ms", type=float, default=20.0)
    parser.add_argument("--flags", default="", help="more for the server, such as '--fronts 2'")
    return parser.parse_args()


if __name__ == "__main__":
    main()
