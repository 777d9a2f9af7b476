"""``python -m tests.load.soak --minutes 120``: mixed traffic for long, and what the server holds.

Prints a line a minute and at the end the slope of resident memory after the warm-up (least
squares), in MB per hour. Fails when it is 5 or more, when a request is lost, or when file
descriptors or threads grow.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.artifacts import publish_tiny_artifact
from tests.integration.conftest import run_server
from tests.load.traffic import Traffic
from tests.load.watching import Holdings, holdings

MAX_SLOPE_MB_PER_HOUR = 5.0
_ROUND = 1000  # requests between two looks at the process
_WARM_UP_SHARE = 0.25


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        publish_tiny_artifact(Path(root))
        with run_server("--repository", root, "--log-request-share", "0") as server:
            traffic = Traffic(server.grpc, arguments.seed)
            samples = _soak(traffic, server.process.pid, arguments.minutes * 60)
    return _judge(samples, traffic)


def _soak(traffic: Traffic, process_id: int, seconds: float) -> list[tuple[float, Holdings]]:
    began = told = time.monotonic()
    samples = []
    while (now := time.monotonic()) < began + seconds:
        asyncio.run(traffic.run(_ROUND))
        samples.append((now - began, holdings(process_id)))
        if now - told >= 60:
            told = now
            print(f"{now - began:7.0f} s  {samples[-1][1]}  {dict(traffic.ledger.outcomes)}")
    return samples


def _judge(samples: list[tuple[float, Holdings]], traffic: Traffic) -> int:
    warm = samples[int(len(samples) * _WARM_UP_SHARE) :]
    hours = np.array([seconds for seconds, _ in warm]) / 3600
    megabytes = np.array([held.rss_bytes for _, held in warm]) / 1e6
    slope = float(np.polyfit(hours, megabytes, 1)[0])
    first, last = warm[0][1], warm[-1][1]
    print(f"requests {traffic.ledger.outcomes.total()}, {dict(traffic.ledger.outcomes)}")
    print(f"resident memory {slope:+.2f} MB an hour; first {first}, last {last}")
    steady = last.descriptors <= first.descriptors + 2 and last.threads <= first.threads + 2
    return 0 if slope < MAX_SLOPE_MB_PER_HOUR and steady else 1


if __name__ == "__main__":
    sys.exit(main())
