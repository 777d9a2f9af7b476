"""What ``bench`` shows and writes: a table, a histogram, and all figures for programs."""

import math
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version as version_of
from platform import python_version

from rich import box
from rich.table import Table
from rich.text import Text

from client.bench.histogram import Histogram
from client.bench.load import Load
from client.bench.photos import Photos, sizes_kb
from client.bench.run import Result
from client.bench.tally import Tally
from client.cli.json_lines import Json
from client.cli.screen import Screen
from client.cli.table import bar, print_table
from client.counting import counted

PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
_ROWS = 14


def show(screen: Screen, result: Result, load: Load) -> None:
    """Print what people read; the histogram on terminals only."""
    tally = result.tally
    if result.interrupted:
        screen.err.print(f"Interrupted: {counted(tally.unfinished, 'request')} given up.")
    screen.out.print(_summary(tally, load))
    if not tally.requests:
        return
    print_table(screen, _latency_table(tally))
    if screen.out.is_terminal and tally.answered:
        screen.out.print(_histogram(tally.answered, unicode=screen.unicode))


def figures(
    result: Result, load: Load, photos: Photos, settings: dict[str, Json], started: datetime
) -> dict[str, Json]:
    """Return everything for a program; latencies in milliseconds."""
    tally = result.tally
    smallest, middle, largest = sizes_kb(photos.images)
    about: dict[str, Json] = {
        "started": started.isoformat(),
        "versions": {"python": python_version(), "grpcio": version_of("grpcio")},
        "settings": settings | load_settings(load),
        "photos": {
            "count": len(photos.images),
            "kb": {"smallest": smallest, "median": middle, "largest": largest},
        },
        "interrupted": result.interrupted,
    }
    return about | tally_figures(tally)


def load_settings(load: Load) -> dict[str, Json]:
    """Return what a load says, without what does not apply to it."""
    loop: dict[str, Json] = (
        {"loop": "closed", "in_flight": load.in_flight}
        if load.in_flight
        else {"loop": "open", "rate_per_s": load.rate_per_s, "arrivals": load.arrivals}
    )
    return loop | {
        "duration_s": load.duration_s if load.calls is None else None,
        "calls": load.calls,
        "warm_up_s": load.warm_up_s,
        "deadline_ms": None if load.deadline_s is None else 1000 * load.deadline_s,
        "timeout_s": load.timeout_s,
        "images_per_call": load.images_per_call,
        "seed": load.seed,
    }


def tally_figures(tally: Tally) -> dict[str, Json]:
    """Return the counts, rates and latencies of a tally."""
    return {
        "seconds": round(tally.seconds, 3),
        "requests": tally.requests,
        "statuses": dict(tally.statuses.most_common()),
        "in_time": tally.in_time,
        "not_measured": {
            "warm_up": tally.warm_up,
            "after": tally.after,
            "unfinished": tally.unfinished,
        },
        "answered_per_s": round(tally.answered_per_s, 2),
        "goodput_per_s": round(tally.goodput_per_s, 2),
        "mean_batch": round(tally.mean_batch, 2),
        "answered_ms": _latencies(tally.answered),
        "failed_ms": _latencies(tally.failed),
        "refused_ms": _latencies(tally.refused),
        "lag_ms": _latencies(tally.lag),
    }


def _latencies(histogram: Histogram) -> Json:
    if not histogram:
        return None
    percentiles: dict[str, Json] = {
        f"p{percent:g}": _ms(histogram.percentile_s(percent)) for percent in PERCENTILES
    }
    return {
        "count": len(histogram),
        "mean": _ms(histogram.mean_s),
        **percentiles,
        "max": _ms(histogram.max_s),
        "hdr_histogram_us": histogram.encoded(),
    }


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)


def _summary(tally: Tally, load: Load) -> Text:
    statuses = [f"{count:,} {status}" for status, count in tally.statuses.most_common()]
    lines = [
        f"{counted(tally.requests, 'request')} in {tally.seconds:.1f} s:"
        f" {', '.join(statuses) or 'none'}",
        f"{tally.answered_per_s:,.1f} answered/s",
    ]
    if load.deadline_s is not None:
        deadline = f"{1000 * load.deadline_s:g} ms"
        lines[-1] += f", {tally.goodput_per_s:,.1f}/s within the deadline of {deadline}"
    if tally.mean_batch:
        lines[-1] += f", mean batch {tally.mean_batch:.1f}"
    return Text("\n".join(lines))


def _latency_table(tally: Tally) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("ms")
    for heading in ("mean", *(f"p{percent:g}" for percent in PERCENTILES), "max"):
        table.add_column(heading, justify="right")
    rows = {
        "answered": tally.answered,
        "failed": tally.failed,
        "of these refused": tally.refused,
        "sent late by": tally.lag,
    }
    for name, histogram in rows.items():
        if histogram:
            table.add_row(name, *_cells(histogram))
    return table


def _cells(histogram: Histogram) -> list[str]:
    percentiles = [histogram.percentile_s(percent) for percent in PERCENTILES]
    return [f"{1000 * s:.1f}" for s in (histogram.mean_s, *percentiles, histogram.max_s)]


def _histogram(histogram: Histogram, *, unicode: bool) -> Text:
    """Return a bar for each of some ranges of latency, each as much longer than the last."""
    edges = _edges(histogram)
    counts = [0] * len(edges)
    row = 0
    for latency_s, count in histogram.counts():
        while row < len(edges) - 1 and latency_s > edges[row]:
            row += 1
        counts[row] += count
    most = max(counts)
    width = len(f"{max(counts):,}")
    lines = [
        f"{_edge(edge)}  {count:>{width},}  {bar(count / most, unicode=unicode)}"
        for edge, count in zip(edges, counts, strict=True)
    ]
    return Text("\n".join(["   up to", *lines]))


def _edges(histogram: Histogram) -> Sequence[float]:
    """Return the upper ends of the ranges in seconds, from the shortest latency to the longest."""
    shortest, longest = histogram.percentile_s(0), histogram.max_s
    if longest <= shortest:
        return [longest]
    step = math.log(longest / shortest) / _ROWS
    return [*(shortest * math.exp(step * row) for row in range(1, _ROWS)), longest]


def _edge(seconds: float) -> str:
    return f"{1000 * seconds:>8.3g} ms" if seconds < 1 else f"{seconds:>8.3g} s "
