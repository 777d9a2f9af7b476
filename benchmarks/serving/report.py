"""From results to a table in Markdown and a plot: medians over the rounds, with their range."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.serving.results import Results
from benchmarks.serving.scenarios import SCENARIOS

LIMITS = "limits"
_OURS = "menagerie"
_ECHO = "echo"  # it computes nothing: no row of the plot
_Case = tuple[str, str, int]  # network, scenario, in flight

# From a case to a contender's figures, one for each round.
_Cases = dict[_Case, dict[str, list[dict[str, Any]]]]


def report(results: Results, plot: Path) -> None:
    """Print the tables and write the plot."""
    limits = {
        (key.round, key.network, key.scenario): figures
        for key, figures in results
        if key.contender == LIMITS
    }
    cases: _Cases = defaultdict(lambda: defaultdict(list))
    for key, figures in results:
        if key.contender == LIMITS:
            continue
        limit = limits.get((key.round, key.network, key.scenario))
        shares = _shares(figures, limit) if limit and "failed" not in figures else {}
        cases[key.network, key.scenario, key.in_flight][key.contender].append(figures | shares)
    _print_limits(limits)
    for case, contenders in cases.items():
        _print_case(case, contenders)
    _draw(cases, plot)


def _shares(figures: dict[str, Any], limit: dict[str, Any]) -> dict[str, float]:
    """Return a measurement over the limit of the same round."""
    offline = limit["offline"]
    cost = figures["cpu_ms"]
    return {
        "rate_share": figures["rate"] / offline["per_s"],
        "cost_share": offline["cpu_ms"] / cost if cost else 0.0,
    }


def _print_limits(limits: dict[tuple[int, str, str], dict[str, Any]]) -> None:
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for (_, network, scenario), figures in limits.items():
        grouped[network, scenario].append(figures)
    for (network, scenario), rounds in grouped.items():
        print(f"\nLimits, {network}, {_title(scenario)}: {len(rounds)} rounds\n")
        print("| without a server | photos/s | processor ms a photo |\n|---|---|---|")
        for name in ("offline", "engine", "decode"):
            rates = _spread([one[name]["per_s"] for one in rounds], "{:.1f}")
            print(f"| {name} | {rates} | {_spread([one[name]['cpu_ms'] for one in rounds])} |")


def _print_case(case: _Case, contenders: dict[str, list[dict[str, Any]]]) -> None:
    network, scenario, in_flight = case
    print(f"\n{network}, {_title(scenario)}, {in_flight} in flight\n")
    print(
        "| server | photos/s | share of the limit's rate | p50 ms | p99 ms"
        " | processor ms a photo | limit's cost over it | not answered | rounds |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, rounds in _by_cost(contenders):
        good = [one for one in rounds if "failed" not in one]
        if not good:
            print(f"| {name} | {rounds[-1]['failed']} | | | | | | | 0 |")
            continue
        lost = sum(sum(one["statuses"].values()) - one["statuses"].get("OK", 0) for one in good)
        cells = [
            good[-1]["version"] if name != _OURS else f"menagerie {good[-1]['version']}",
            _spread([one["rate"] for one in good], "{:.1f}"),
            _spread([one.get("rate_share", 0.0) for one in good]),
            _spread([one["p50"] for one in good], "{:.0f}"),
            _spread([one["p99"] for one in good], "{:.0f}"),
            _spread([one["cpu_ms"] for one in good], "{:.1f}"),
            _spread([one.get("cost_share", 0.0) for one in good]),
            str(lost),
            str(len(good)),
        ]
        label = f"{name}: {cells[0]}" if name in {"queue", "echo", "grpcio"} else cells[0]
        print(f"| {' | '.join([label, *cells[1:]])} |")


def _by_cost(
    contenders: dict[str, list[dict[str, Any]]],
) -> Sequence[tuple[str, list[dict[str, Any]]]]:
    """Return contenders, the cheapest first; those that failed last."""
    return sorted(contenders.items(), key=lambda item: _median(item[1], "cpu_ms") or 1e9)


def _draw(cases: _Cases, plot: Path) -> None:
    mpl.use("Agg")
    shown = {case: contenders for case, contenders in cases.items() if case[2] > 1}
    if not shown:
        return
    figure, rows = plt.subplots(
        2, len(shown), figsize=(4.2 * len(shown), 6.4), squeeze=False, layout="constrained"
    )
    for column, (case, contenders) in enumerate(shown.items()):
        network, scenario, in_flight = case
        names = [name for name, _ in _by_cost(contenders) if name != _ECHO]
        rounds = [[one for one in contenders[name] if "failed" not in one] for name in names]
        kept = [(name, good) for name, good in zip(names, rounds, strict=True) if good]
        title = f"{network}, {_title(scenario)},\n{in_flight} in flight"
        _bars(rows[0, column], kept, "cost_share", "limit's processor time over the server's")
        _bars(rows[1, column], kept, "rate_share", "share of the limit's photos/s")
        rows[0, column].set_title(title, fontsize=9)
    figure.savefig(plot, dpi=110)
    plt.close(figure)


def _bars(
    axes: plt.Axes, kept: Sequence[tuple[str, list[dict[str, Any]]]], field: str, label: str
) -> None:
    names = [name for name, _ in kept]
    values = [[one.get(field, 0.0) for one in good] for _, good in kept]
    middles = [statistics.median(one) for one in values]
    below = [middle - min(one) for middle, one in zip(middles, values, strict=True)]
    above = [max(one) - middle for middle, one in zip(middles, values, strict=True)]
    colours = ["tab:green" if name == _OURS else "tab:gray" for name in names]
    axes.barh(names, middles, xerr=[below, above], color=colours, error_kw={"lw": 1})
    axes.invert_yaxis()
    axes.axvline(1.0, color="black", lw=0.8, ls="--")
    axes.set_xlabel(label, fontsize=8)
    axes.tick_params(labelsize=8)


def _spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    shown: Callable[[float], str] = form.format
    middle = shown(statistics.median(values))
    return (
        middle if len(values) == 1 else f"{middle} ({shown(min(values))} to {shown(max(values))})"
    )


def _median(rounds: Sequence[dict[str, Any]], field: str) -> float:
    values = [one[field] for one in rounds if one.get(field)]
    return statistics.median(values) if values else 0.0


def _title(scenario: str) -> str:
    return next((one.title for one in SCENARIOS if one.name == scenario), scenario)
