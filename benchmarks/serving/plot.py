"""A network's results as bars: medians, with the least and the most of the rounds."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.serving.contenders import OURS, OURS_COMPILED, OURS_INT8
from benchmarks.serving.grouped import Case, Figures, is_compiled, rate
from benchmarks.serving.results import LIMITS, LIMITS_COMPILED, LIMITS_INT8

_COLUMNS = 3
_RATE = "photos/s"
_COLOURS = {OURS: "#2ca25f", OURS_COMPILED: "#006d2c", OURS_INT8: "#00441b"}
_PEER, _PEER_COMPILED = "#bdbdbd", "#737373"
_LINES = {
    LIMITS: ("--", "limit"),
    LIMITS_COMPILED: (":", "limit, compiled"),
    LIMITS_INT8: ("-.", "limit, int8"),
}


@dataclass(frozen=True)
class _Panel:
    """One diagram: what of which case; lines at what of the limits."""

    case: Case
    label: str
    of: Callable[[Figures], float]
    limit: Callable[[Figures], float] | None = None


def draw(own: Sequence[Case], plot: Path) -> None:
    """Write the plot of one network's cases."""
    panels = sorted((panel for case in own for panel in _panels(case)), key=_order)
    if not panels:
        return
    mpl.use("Agg")
    rows = -(-len(panels) // _COLUMNS)
    figure, grid = plt.subplots(
        rows, _COLUMNS, figsize=(14, 0.6 + 3.4 * rows), squeeze=False, layout="constrained"
    )
    for axes, panel in zip(grid.flat, panels, strict=False):
        _bars(axes, panel)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    rounds = max(len(found) for case in own for found in case.contenders.values())
    figure.suptitle(f"{own[0].network}: median and range, rounds: {rounds}")
    figure.savefig(plot, dpi=100)
    plt.close(figure)


def _order(panel: _Panel) -> tuple[bool, bool]:
    """Rates of plain calls, their costs, then the rest."""
    return panel.case.scenario.kind != "unary", panel.label != _RATE


def _panels(case: Case) -> list[_Panel]:
    if case.in_flight == 1:
        return []
    match case.scenario.kind:
        case "unary":
            return [
                _Panel(case, _RATE, rate, lambda one: one["offline"]["per_s"]),
                _Panel(
                    case,
                    "processor ms a photo",
                    lambda one: one["cpu_ms"],
                    lambda one: one["offline"]["cpu_ms"],
                ),
            ]
        case "overload":
            label = "answered in time over the peak"
            return [_Panel(case, label, lambda one: one["goodput"] / one["peak"])]
        case _:
            return [_Panel(case, _RATE, rate)]


def _bars(axes: Axes, panel: _Panel) -> None:
    names = panel.case.servers()
    values = [panel.case.values(name, panel.of) for name in names]
    middles = [statistics.median(one) for one in values]
    below = [middle - min(one) for middle, one in zip(middles, values, strict=True)]
    above = [max(one) - middle for middle, one in zip(middles, values, strict=True)]
    axes.barh(
        names,
        middles,
        xerr=[below, above],
        color=[_colour(name) for name in names],
        error_kw={"lw": 1, "ecolor": "#333333"},
    )
    most = max(max(one) for one in values)
    for row, (middle, one) in enumerate(zip(middles, values, strict=True)):
        axes.text(
            max(one) + 0.02 * most,
            row,
            f"{middle:.3g}",
            va="center",
            fontsize=7,
            bbox={
                "facecolor": "white",
                "edgecolor": "none",
                "pad": 0.8,
            },  # on top of a limit's line
        )
    for name, rounds in panel.case.limits.items() if panel.limit else ():
        style, label = _LINES[name]
        limit = statistics.median(map(panel.limit, rounds.values()))
        axes.axvline(limit, color="black", lw=0.9, ls=style, label=f"{label} {limit:.3g}")
        most = max(most, limit)
    if panel.limit and panel.case.limits:
        # Where the bars are short: the fastest are on top, the cheapest among them.
        axes.legend(fontsize=7, loc="lower right" if panel.label == _RATE else "upper right")
    axes.set_xlim(0, 1.14 * most)
    axes.invert_yaxis()
    axes.set_xlabel(panel.label, fontsize=8)
    axes.set_title(f"{panel.case.scenario.title},\n{panel.case.in_flight} in flight", fontsize=9)
    axes.tick_params(labelsize=8)


def _colour(name: str) -> str:
    return _COLOURS.get(name, _PEER_COMPILED if is_compiled(name) else _PEER)
