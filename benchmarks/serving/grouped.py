"""Results by case: what was measured of each contender in each round, beside the limit of it."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from benchmarks.serving.contenders import ECHO, OURS_INT8
from benchmarks.serving.results import LIMITS, LIMITS_COMPILED, LIMITS_INT8, Results
from benchmarks.serving.scenarios import SCENARIOS, Scenario

Figures = Mapping[str, Any]
ByRound = dict[int, Figures]

_SCENARIOS = {one.name: one for one in SCENARIOS}


def is_compiled(contender: str) -> bool:
    """Tell whether a contender serves the compiled model."""
    return contender.endswith("-compiled")


@dataclass(frozen=True)
class Case:
    """One load of one scenario.

    Attributes:
        network: What was served.
        scenario: What was sent.
        in_flight: How many calls were open.
        contenders: The figures of each round, by contender; those of a failed start are left out.
        failures: Why the last start failed, by contender.
        limits: Those of each engine, by its limits' name and round.
    """

    network: str
    scenario: Scenario
    in_flight: int
    contenders: Mapping[str, ByRound]
    failures: Mapping[str, str]
    limits: Mapping[str, ByRound]

    @property
    def title(self) -> str:
        """Return what it is, for people."""
        return f"{self.network}, {self.scenario.title}, {self.in_flight} in flight"

    def servers(self) -> list[str]:
        """Return who was measured and computes, the fastest first."""
        names = [name for name in self.contenders if name != ECHO]
        return sorted(names, key=lambda name: -statistics.median(self.values(name, rate)))

    def values(self, contender: str, of: Callable[[Figures], float]) -> list[float]:
        """Return a figure of every round."""
        return [of(figures) for figures in self.contenders.get(contender, {}).values()]

    def limit_of(self, contender: str) -> ByRound:
        """Return the limit of a contender's engine, by round; nothing of one that has none."""
        if contender == ECHO:
            return {}
        if contender == OURS_INT8:
            return self.limits.get(LIMITS_INT8, {})
        return self.limits.get(LIMITS_COMPILED if is_compiled(contender) else LIMITS, {})

    def over_limit(self, contender: str, ratio: Callable[[Figures, Figures], float]) -> list[float]:
        """Return ratios of a contender's figures to the limit of the same round."""
        limits = self.limit_of(contender)
        return [
            ratio(figures, limits[number])
            for number, figures in self.contenders.get(contender, {}).items()
            if number in limits
        ]

    def over(self, one: str, other: str, of: Callable[[Figures], float]) -> list[float]:
        """Return ratios between contenders' figures of the same round."""
        others = self.contenders.get(other, {})
        return [
            of(figures) / of(others[number])
            for number, figures in self.contenders.get(one, {}).items()
            if number in others and of(others[number])
        ]


def rate(figures: Figures) -> float:
    """Photos answered a second, of both models where there are two."""
    return float(figures["rate"] + figures.get("second", {"rate": 0.0})["rate"])


def share_of_rate(figures: Figures, limit: Figures) -> float:
    """Photos a second over the limit's."""
    return float(rate(figures) / limit["offline"]["per_s"])


def share_of_cost(figures: Figures, limit: Figures) -> float:
    """The limit's processor time over the server's."""
    return float(limit["offline"]["cpu_ms"] / figures["cpu_ms"]) if figures["cpu_ms"] else 0.0


class _Gathering:
    """A case while results are read. What was measured twice counts once, the last time."""

    def __init__(self) -> None:
        self.contenders: dict[str, ByRound] = defaultdict(dict)
        self.failures: dict[str, str] = {}

    def add(self, contender: str, number: int, figures: Figures) -> Self:
        if "failed" in figures:
            self.failures[contender] = str(figures["failed"])
        else:
            self.contenders[contender][number] = figures
        return self


def cases(results: Results) -> Iterator[Case]:
    """Yield every case that was measured, in the order of networks, scenarios and loads."""
    gathered: dict[tuple[str, str, int], _Gathering] = defaultdict(_Gathering)
    limits: dict[tuple[str, str], dict[str, ByRound]] = defaultdict(lambda: defaultdict(dict))
    for key, figures in results:
        if key.contender in (LIMITS, LIMITS_COMPILED, LIMITS_INT8):
            limits[key.network, _SCENARIOS[key.scenario].album][key.contender][key.round] = figures
        elif key.scenario in _SCENARIOS:
            case = gathered[key.network, key.scenario, key.in_flight]
            case.add(key.contender, key.round, figures)
    names = list(_SCENARIOS)
    for network, name, in_flight in sorted(
        gathered, key=lambda case: (case[0], names.index(case[1]), case[2])
    ):
        case, scenario = gathered[network, name, in_flight], _SCENARIOS[name]
        shown = limits[network, scenario.album] if scenario.kind != "pair" else {}
        yield Case(network, scenario, in_flight, case.contenders, case.failures, shown)


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Return the median, with the range where there are several."""
    if not values:
        return ""
    middle = form.format(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))} to {form.format(max(values))})"
