"""From results to tables in Markdown: medians over the rounds, with their range."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.serving.bars import bars
from benchmarks.serving.grouped import (
    Case,
    Figures,
    cases,
    rate,
    share_of_cost,
    share_of_rate,
    spread,
)
from benchmarks.serving.plot import draw
from benchmarks.serving.results import Results

_Columns = Sequence[tuple[str, str]]


def report(results: Results, plot: Path) -> None:
    """Print the tables and draw a plot for each network, beside `plot`."""
    found = list(cases(results))
    for network in dict.fromkeys(case.network for case in found):
        own = [case for case in found if case.network == network]
        _print_limits(own)
        for case in own:
            _print_case(case)
        _print_table(f"{network}: what was wanted", ("wanted", "found"), bars(own))
        draw(own, plot.with_stem(f"{plot.stem}-{network}"))


def _print_limits(own: Sequence[Case]) -> None:
    shown = set()
    for case in own:
        if case.scenario.album in shown or not case.limits:
            continue
        shown.add(case.scenario.album)
        rows = []
        for name, rounds in case.limits.items():
            for part in ("offline", "engine", "decode"):
                parts = [figures[part] for figures in rounds.values()]
                rates = spread([one["per_s"] for one in parts], "{:.1f}")
                costs = spread([one["cpu_ms"] for one in parts], "{:.1f}")
                rows.append((f"{name}, {part}", rates, costs))
            singles = [one["single_ms"] for one in rounds.values() if "single_ms" in one]
            rows.append((f"{name}, one photo alone", "", f"{spread(singles, '{:.1f}')} (took)"))
        title = f"Limits, {case.network}, {case.scenario.title}"
        _print_table(title, ("without a server", "photos/s", "processor ms a photo"), rows)


def _print_case(case: Case) -> None:
    columns = {"pair": _pair, "overload": _overload}.get(case.scenario.kind, _closed)
    names = [*case.servers(), *(name for name in case.contenders if name == "echo")]
    rows: list[Sequence[str]] = []
    heading: Sequence[str] = ("server",)
    for name in names:
        cells = list(columns(case, name))
        heading = ("server", *(title for title, _ in cells), "rounds")
        figures = list(case.contenders[name].values())
        label = f"{name} ({figures[-1]['version']})"
        rows.append((label, *(cell for _, cell in cells), str(len(figures))))
    rows += [(name, why) for name, why in case.failures.items() if name not in case.contenders]
    _print_table(case.title, heading, rows)


def _closed(case: Case, name: str) -> Iterator[tuple[str, str]]:
    yield "photos/s", _of(case, name, "rate", "{:.1f}")
    yield "of the limit's", spread(case.over_limit(name, share_of_rate))
    yield "p50 ms", _of(case, name, "p50", "{:.0f}")
    yield "p99 ms", _of(case, name, "p99", "{:.0f}")
    yield "processor ms a photo", _of(case, name, "cpu_ms", "{:.1f}")
    yield "limit's over it", spread(case.over_limit(name, share_of_cost))
    yield "not answered", str(sum(_lost(one) for one in case.contenders[name].values()))


def _pair(case: Case, name: str) -> Iterator[tuple[str, str]]:
    yield "photos/s together", spread(case.values(name, rate), "{:.1f}")
    yield "first, photos/s", _of(case, name, "rate", "{:.1f}")
    yield "p99 ms", _of(case, name, "p99", "{:.0f}")
    for title, field, form in (
        ("second, photos/s", "rate", "{:.1f}"),
        ("its p99 ms", "p99", "{:.0f}"),
    ):
        values = case.values(name, lambda one, field=field: one["second"][field])
        yield title, spread(values, form)
    yield "processor ms a photo", _of(case, name, "cpu_ms", "{:.1f}")
    yield "not answered", str(sum(_lost(one) for one in case.contenders[name].values()))


def _overload(case: Case, name: str) -> Iterator[tuple[str, str]]:
    yield "peak, photos/s", _of(case, name, "peak", "{:.1f}")
    yield "in time, photos/s", _of(case, name, "goodput", "{:.1f}")
    yield "over the peak", spread(case.values(name, lambda one: one["goodput"] / one["peak"]))
    yield "p99 ms of answers", _of(case, name, "p99", "{:.0f}")
    yield "p99 ms of refusals", _of(case, name, "refused_p99", "{:.0f}")
    for title, statuses in (("refused", {"UNAVAILABLE"}), ("timed out", {"DEADLINE_EXCEEDED"})):
        shares = case.values(name, lambda one, told=statuses: _share(one, told))
        yield title, spread(shares)
    yield "processor ms a photo", _of(case, name, "cpu_ms", "{:.1f}")


def _of(case: Case, name: str, field: str, form: str) -> str:
    return spread(case.values(name, lambda figures: figures[field]), form)


def _share(figures: Figures, statuses: set[str]) -> float:
    told: dict[str, int] = figures["statuses"]
    return sum(told.get(name, 0) for name in statuses) / max(sum(told.values()), 1)


def _lost(figures: Figures) -> int:
    told: dict[str, int] = figures["statuses"]
    return sum(told.values()) - told.get("OK", 0)


def _print_table(title: str, heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    print(f"\n{title}\n")
    print(f"| {' | '.join(heading)} |\n|{'---|' * len(heading)}")
    for row in rows:
        print(f"| {' | '.join([*row, *[''] * (len(heading) - len(row))])} |")
