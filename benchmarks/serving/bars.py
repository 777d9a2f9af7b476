"""What the project wants of its server beside the limits and the peers, and what was found."""

import statistics
from collections.abc import Iterator, Sequence

from benchmarks.serving.contenders import ECHO, OURS, OURS_COMPILED, OURS_INT8
from benchmarks.serving.grouped import Case, is_compiled, rate, share_of_rate, spread

_OURS = (OURS, OURS_COMPILED, OURS_INT8)
_LARGE = "c"


def bars(own: Sequence[Case]) -> list[tuple[str, str]]:
    """Return each bar with what was found, as far as it was measured; `own` is of one network."""
    found: list[tuple[str, str]] = []
    for case in own:
        if case.scenario.kind == "overload":
            found += _overload(case)
        elif case.scenario.kind == "unary":
            found += _alone(case) if case.in_flight == 1 else _loaded(case)
    return [(wanted, text) for wanted, text in found if text]


def _loaded(case: Case) -> Iterator[tuple[str, str]]:
    large = case.scenario.name == _LARGE
    where = f"{case.scenario.name}, {case.in_flight} in flight"
    for name in _OURS:
        if not large:
            shares = case.over_limit(name, share_of_rate)
            yield f"{where}: {name}, 0.92 of its limit", spread(shares)
    plain = [name for name in _peers(case) if not is_compiled(name)]
    for name in _OURS if plain else ():
        best = plain[0]
        ratios = spread(case.over(name, best, rate))
        wanted = 3 if large else 1.5
        yield f"{where}: {name}, {wanted} times the best peer ({best})", ratios
    compiled = [name for name in _peers(case) if is_compiled(name)]
    for name in (OURS_COMPILED, OURS_INT8) if compiled and not large else ():
        ratios = spread(case.over(name, compiled[0], rate))
        yield f"{where}: {name}, 1.1 times the best compiled peer ({compiled[0]})", ratios


def _peers(case: Case) -> list[str]:
    """Return the peers, the fastest first."""
    return [name for name in case.servers() if name not in _OURS]


def _alone(case: Case) -> Iterator[tuple[str, str]]:
    echoes = case.contenders.get(ECHO, {})
    for name in _OURS:
        limits = case.limit_of(name)
        ratios = [
            figures["p50"] / (limits[number]["single_ms"] + echoes[number]["p50"])
            for number, figures in case.contenders.get(name, {}).items()
            if number in echoes and "single_ms" in limits.get(number, {})
        ]
        where = f"{case.scenario.name}, 1 in flight"
        yield f"{where}: {name}, p50 at most 1.15 of engine, decoder and echo", spread(ratios)


def _overload(case: Case) -> Iterator[tuple[str, str]]:
    goodputs = {
        name: case.values(name, lambda one: one["goodput"] / one["peak"]) for name in case.servers()
    }
    for name in _OURS:
        refused = case.values(name, lambda one: one["refused_p99"])
        yield f"e: {name}, goodput 0.9 of the peak", spread(goodputs.get(name, []))
        yield f"e: {name}, refusals within 20 ms, p99", spread(refused, "{:.0f}")
    peers = [name for name in goodputs if name not in _OURS]
    if peers:
        best = max(peers, key=lambda name: statistics.median(goodputs[name]))
        yield f"e: the best peer's goodput over its peak ({best})", spread(goodputs[best])
