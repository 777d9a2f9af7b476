"""What the SDK's conveniences cost: classify_many and classify_each against the load generator.

    python -m benchmarks.classify_many --server HOST:PORT [--model NAME] [--rounds 5]

Each round asks the same server the same photos three ways, one after the other; the figures are
ratios to the load generator's stream of that round, so that a busy machine slows all alike.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from client import Client
from client.crowd import classify_each

PHOTOS = Path(__file__).resolve().parents[1] / "examples" / "photos"
WINDOW = 32


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="127.0.0.1:50051")
    parser.add_argument("--model", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    ratios: dict[str, list[float]] = {"classify_many": [], "classify_each": []}
    for _ in range(options.rounds):
        generator = load_generator(options)
        for name, found in ratios.items():
            found.append(sdk(name, options) / generator)
        print(f"load generator {generator:.0f}/s", {k: round(v[-1], 3) for k, v in ratios.items()})
    for name, found in ratios.items():
        low, high = min(found), max(found)
        print(
            f"{name}: {statistics.median(found):.3f} of the load generator ({low:.3f}-{high:.3f})"
        )


def load_generator(options: argparse.Namespace) -> float:
    """Return its images per second over one stream."""
    command = [sys.executable, "-m", "client", "bench", str(PHOTOS), "--method", "stream"]
    command += ["-c", str(WINDOW), "--warm-up", "1", "--duration", str(options.seconds)]
    command += ["--server", options.server, "--model", options.model, "--json", "-"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    return float(found["statuses"]["OK"] / found["seconds"])


def sdk(name: str, options: argparse.Namespace) -> float:
    """Return the images per second of a way to classify many, after a second of warm-up."""
    photos = [(path.name, path.read_bytes()) for path in sorted(PHOTOS.glob("*.jpg"))]
    over = time.monotonic() + options.seconds + 1

    def coming() -> Iterator[tuple[str, bytes]]:
        return itertools.takewhile(lambda _: time.monotonic() < over, itertools.cycle(photos))

    with Client(options.server) as client:
        if name == "classify_many":
            outcomes = client.classify_many(coming(), model=options.model, window=WINDOW)
        else:
            outcomes = classify_each(client, coming(), model=options.model, in_flight=WINDOW)
        counted, start = 0, time.monotonic()
        for outcome in outcomes:
            outcome.result()
            now = time.monotonic()
            if now - start >= 1:
                counted += 1
        return counted / (time.monotonic() - start - 1)


if __name__ == "__main__":
    main()
