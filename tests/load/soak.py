"""``python -m tests.load.soak --minutes 120``: mixed traffic for long, and what the server holds.

A tenth of the photos is bad, a twentieth of the calls is cancelled. Prints a line a minute and
at the end the slope of resident memory after the warm-up (least squares), in MB per hour; with
``--output`` it keeps the samples as JSON and draws them. Fails when the slope is 5 or more, when
a request is lost or answered wrongly, or when file descriptors or threads grow.
"""

import argparse
import asyncio
import json
import platform
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tests.integration.conftest import run_server
from tests.load.photos import FLAGS, photos, publish_touchy_artifact
from tests.load.traffic import Mix, Traffic
from tests.load.watching import Holdings, holdings

MAX_SLOPE_MB_PER_HOUR = 5.0
MIX = Mix(bad=0.10, cancelled=0.05, hurried=0.02, poison=0.002, slow=0.002)
_ROUND_S = 15.0  # between two looks at the process
_BRISK = 1000  # requests between them, where nothing limits the rate
_WARM_UP_SHARE = 0.25


@dataclass(frozen=True)
class Sample:
    """What the server held, so many seconds after the start."""

    seconds: float
    held: Holdings


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--rate", type=float, default=inf, help="most requests a second")
    parser.add_argument("--output", type=Path, help="folder for soak.json and soak.png")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        publish_touchy_artifact(Path(root))
        with run_server(
            "--repository", root, "--log-request-share", "0", *FLAGS, forked=False
        ) as server:
            traffic = Traffic(photos(arguments.seed), MIX, arguments.seed, arguments.rate)
            samples = _soak(traffic, server.grpc, server.process.pid, arguments.minutes * 60)
    result = _result(samples, traffic, arguments.rate)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "soak.json").write_text(json.dumps(result, indent=1) + "\n")
        _draw(samples, result, arguments.output / "soak.png")
    print(json.dumps({key: value for key, value in result.items() if key != "samples"}))
    return 0 if result["passed"] else 1


def _soak(traffic: Traffic, address: str, process_id: int, seconds: float) -> list[Sample]:
    began = told = time.monotonic()
    requests = _BRISK if traffic.rate == inf else max(1, int(traffic.rate * _ROUND_S))
    samples = []
    while (now := time.monotonic()) < began + seconds:
        asyncio.run(traffic.run(address, requests))
        samples.append(Sample(time.monotonic() - began, holdings(process_id)))
        if now - told >= 60:
            told = now
            line = f"{now - began:7.0f} s  {samples[-1].held}  {dict(traffic.ledger.outcomes)}"
            print(line, flush=True)
    return samples


def _result(samples: list[Sample], traffic: Traffic, rate: float) -> dict[str, object]:
    warm = [one for one in samples if one.seconds >= samples[-1].seconds * _WARM_UP_SHARE]
    hours = np.array([one.seconds for one in warm]) / 3600
    megabytes = np.array([one.held.rss_bytes for one in warm]) / 1e6
    slope, at_start = (float(value) for value in np.polyfit(hours, megabytes, 1))
    first, last = warm[0].held, warm[-1].held
    steady = last.descriptors <= first.descriptors + 2 and last.threads <= first.threads + 2
    return {
        "passed": slope < MAX_SLOPE_MB_PER_HOUR and steady,
        "minutes": round(samples[-1].seconds / 60, 1),
        "warm_up_minutes": round(warm[0].seconds / 60, 1),
        "rate": None if rate == inf else rate,
        "requests": traffic.ledger.outcomes.total(),
        "outcomes": dict(traffic.ledger.outcomes),
        "slope_mb_per_hour": round(slope, 3),
        "mb_at_zero": round(at_start, 1),
        "after_warm_up": asdict(first),
        "at_the_end": asdict(last),
        "python": platform.python_version(),
        "samples": [[round(one.seconds, 1), *asdict(one.held).values()] for one in samples],
    }


def _draw(samples: list[Sample], result: dict[str, object], path: Path) -> None:
    minutes = [one.seconds / 60 for one in samples]
    figure = Figure(figsize=(8, 5), layout="constrained")
    memory, counts = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    memory.plot(minutes, [one.held.rss_bytes / 1e6 for one in samples], label="resident memory")
    slope, start = float(str(result["slope_mb_per_hour"])), float(str(result["mb_at_zero"]))
    warm = [minute for minute in minutes if minute >= minutes[-1] * _WARM_UP_SHARE]
    line = [start + slope * minute / 60 for minute in warm]
    memory.plot(warm, line, "--", label=f"{slope:+.2f} MB an hour after the warm-up")
    memory.set(ylabel="MB", ylim=(0, 1.15 * max(one.held.rss_bytes for one in samples) / 1e6))
    memory.legend(loc="lower right")
    counts.plot(minutes, [one.held.descriptors for one in samples], label="file descriptors")
    counts.plot(minutes, [one.held.threads for one in samples], label="threads")
    counts.set(xlabel="minutes", ylim=(0, 1.3 * max(one.held.threads for one in samples)))
    counts.legend(loc="lower right")
    requests = f"{result['requests']:,} requests in {result['minutes']} minutes"
    memory.set_title(f"{requests}: a tenth bad, a twentieth of the calls cancelled")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
