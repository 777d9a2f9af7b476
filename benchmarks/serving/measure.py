"""One measurement: a server, a load, what came back and what it cost."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from benchmarks.serving.contenders import Running
from benchmarks.serving.cpu import cpu_seconds
from benchmarks.serving.scenarios import Scenario
from client.bench.load import Load
from client.bench.photos import Photos
from client.bench.run import run
from client.bench.sender import OK, Target
from client.bench.tally import Tally
from client.bench.worker import Progress

# What a measurement found; rates in photos a second, times in milliseconds.
#   rate: photos answered OK a second       p50, p99: latencies of those
#   cpu_ms: processor time of the server's processes for a photo, warm-up included
#   mean_batch: as the server tells; 0 if it does not       statuses: photos by status
#   load: processes that ran or waited on this machine, mean of the last minute
# of two models, "second": rate, p50, p99 of the one that is not the default;
# of an overload, beside these: peak, the closed loop's rate; goodput, photos a second answered
#   within the deadline of when they were due; refused_p99, of refusals; lag_p99, how late the
#   generator sent
Figures = dict[str, Any]

OVERLOAD, DEADLINE_S = 3.0, 0.5
_PEAK_S = 4.0
_TIMEOUT_S = 30.0


def measure(running: Running, photos: Photos, scenario: Scenario, in_flight: int) -> Figures:
    """Put a server under a scenario's load.

    The warm-up lasts until the calls in flight have been answered about once.
    """
    load = Load(
        in_flight=in_flight,
        warm_up_s=1.0 + in_flight / 64,
        duration_s=scenario.seconds,
        timeout_s=_TIMEOUT_S,
        images_per_call=scenario.images,
    )
    unary = running.targets["unary"]
    match scenario.kind:
        case "overload":
            return _overload(running, photos, load)
        case "pair":
            first, second = _under(running, [unary, running.targets["second"]], load, photos)
            return first | {"second": {name: second[name] for name in ("rate", "p50", "p99")}}
        case "unary" | "stream" | "batch" as kind:
            (figures,) = _under(running, [running.targets[kind]], load, photos)
            return figures


def _overload(running: Running, photos: Photos, closed: Load) -> Figures:
    """Send at random three times what the server did just before, with a deadline."""
    unary = running.targets["unary"]
    (peak,) = _under(running, [unary], replace(closed, duration_s=_PEAK_S), photos)
    load = replace(
        closed,
        in_flight=0,
        rate_per_s=OVERLOAD * peak["rate"],
        warm_up_s=2 * DEADLINE_S,
        deadline_s=DEADLINE_S,
    )
    (figures,) = _under(running, [unary], load, photos)
    return figures | {"peak": peak["rate"]}


def _under(
    running: Running, targets: Sequence[Target], load: Load, photos: Photos
) -> list[Figures]:
    """Run the load on each target at the same time."""
    used: list[float] = []

    def begun(_progress: Progress) -> None:
        if not used:
            used.append(cpu_seconds(running.process.pid))

    def one(target: Target) -> Tally:
        return run(target, load, photos, progress=begun).tally

    with ThreadPoolExecutor(len(targets)) as pool:
        tallies = list(pool.map(one, targets))
    cost_s = cpu_seconds(running.process.pid) - used[0]
    # Everything that was sent has been worked on, whether or not it fell into the window.
    answered = sum(tally.sent - tally.requests + tally.statuses[OK] for tally in tallies)
    shared = {
        "cpu_ms": round(1000 * cost_s / max(answered, 1), 3),
        "load": round(os.getloadavg()[0], 2),
    }
    return [_figures(tally, load) | shared for tally in tallies]


def _figures(tally: Tally, load: Load) -> Figures:
    ms: Callable[[float], float] = lambda seconds: round(1000 * seconds, 2)  # noqa: E731
    figures: Figures = {
        "rate": round(tally.answered_per_s, 2),
        "p50": ms(tally.answered.percentile_s(50)),
        "p99": ms(tally.answered.percentile_s(99)),
        "mean_batch": round(tally.mean_batch, 2),
        "statuses": dict(tally.statuses),
    }
    if load.deadline_s is not None:
        figures |= {
            "goodput": round(tally.goodput_per_s, 2),
            "refused_p99": ms(tally.refused.percentile_s(99)),
            "lag_p99": ms(tally.lag.percentile_s(99)),
        }
    return figures
