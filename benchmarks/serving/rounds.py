"""The rounds over one network: who is measured when, and what of it is done already."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.catalogue import Settings
from benchmarks.processes import ROOT
from benchmarks.serving import cores
from benchmarks.serving.contenders import ECHO, Contender, Running, contenders
from benchmarks.serving.measure import measure
from benchmarks.serving.results import LIMITS, LIMITS_COMPILED, LIMITS_INT8, Key, Results
from benchmarks.serving.scenarios import Scenario
from benchmarks.serving.served import BESIDE, WORK, album, photos_of, served
from benchmarks.serving.start import NotReadyError, settle, wait_until_ready
from client.bench.sender import TargetError

_LIMITS = (LIMITS, LIMITS_COMPILED, LIMITS_INT8)
_TOGETHER = {"unary", "stream", "batch"}  # one start serves them all


class Bench:
    """The rounds over one network.

    Args:
        network: What everybody serves.
        scenarios: What is sent.
        results: Where results go, and are found again.
    """

    def __init__(self, network: str, scenarios: Sequence[Scenario], results: Results) -> None:
        self._network = network
        self._scenarios = scenarios
        self._results = results
        self._contenders = {one.name: one for one in contenders()}
        self._photos = {one.album: photos_of(one) for one in scenarios}

    def order(self, number: int, only: Sequence[str]) -> list[str]:
        """Return who is measured in a round, by turns first."""
        names = [name for name in (*_LIMITS, *self._contenders) if not only or name in only]
        turn = number % len(names)
        return names[turn:] + names[:turn]

    def is_done(self, number: int, name: str) -> bool:
        """Tell whether the results hold all of a contender's measurements of a round."""
        return not self._left(number, name)

    def run(self, number: int, name: str) -> None:
        """Start a contender, measure every load, end it.

        It starts anew where there is a second model, and on fewer cores for an overload.
        """
        print(f"round {number + 1}: {name}")
        left = self._left(number, name)
        if name in _LIMITS:
            self._limits(number, name, left)
            return
        for kinds in (_TOGETHER, {"pair"}, {"overload"}):
            scenarios = [one for one in left if one.kind in kinds]
            if scenarios:
                self._serve(number, self._contenders[name], scenarios)

    def _left(self, number: int, name: str) -> list[Scenario]:
        """Return the scenarios, and of each the loads, that a round lacks of a contender."""
        done = {key for key, _ in self._results}
        left = []
        for scenario in self._taken(name):
            missing = [key.in_flight for key in self._keys(number, name, [scenario]) - done]
            if missing:
                left.append(scenario if name in _LIMITS else scenario.only(missing))
        return left

    def _taken(self, name: str) -> list[Scenario]:
        """Return the scenarios that a contender takes part in."""
        if name in _LIMITS:
            return [one for one in self._scenarios if one.kind == "unary"]
        ways = {"unary", *self._contenders[name].offers}
        if name != ECHO:
            ways.add("overload")
        if "second" in ways:
            ways.add("pair")
        return [one for one in self._scenarios if one.kind in ways]

    def _serve(self, number: int, contender: Contender, scenarios: Sequence[Scenario]) -> None:
        kind = scenarios[0].kind
        networks = (self._network, BESIDE) if kind == "pair" else (self._network,)
        models = served(*networks)
        theirs, ours = cores.shares(kind)
        log = WORK / f"{contender.name}.log"
        with (
            cores.on(theirs),
            contender.running(Settings(models, WORK), log) as running,
            cores.on(ours),
        ):
            try:
                self._measure(number, contender, running, scenarios)
            except (NotReadyError, TargetError) as error:
                reason = f"{error}; {_end_of(log)}"
                print(f"  {contender.name} failed: {reason}")
                lacking = self._keys(number, contender.name, scenarios)
                for key in lacking - {key for key, _ in self._results}:
                    self._results.add(key, {"failed": reason})

    def _measure(
        self, number: int, contender: Contender, running: Running, scenarios: Sequence[Scenario]
    ) -> None:
        first = self._photos[scenarios[0].album].images[0]
        about = {
            "ready_s": round(wait_until_ready(running, first), 1),
            "version": contender.version(),
            "idle_cores": round(settle(running, first), 3),
        }
        for scenario in scenarios:
            photos = self._photos[scenario.album]
            for in_flight in scenario.in_flight:
                figures = measure(running, photos, scenario, in_flight)
                key = self._key(number, contender.name, scenario, in_flight)
                self._results.add(key, figures | about)
                said = f"{figures['rate']}/s, {figures['cpu_ms']} ms, {figures['statuses']}"
                print(f"  {scenario.name} {in_flight}: {said}")

    def _limits(self, number: int, name: str, scenarios: Sequence[Scenario]) -> None:
        (model,) = served(self._network)
        compiled = [] if name == LIMITS else ["--compiled", str(WORK / "compiled")]
        compiled += ["--int8"] if name == LIMITS_INT8 else []
        for scenario in scenarios:
            command = [
                *(sys.executable, "-m", "benchmarks.limits", str(model.file.parents[2])),
                *(model.name, str(album(scenario)), "--batch", str(Settings((), WORK).max_batch)),
                *compiled,
            ]
            out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            found = json.loads(out.stdout)
            self._results.add(self._key(number, name, scenario, 0), found)
            print(f"  {scenario.name}: {found}")

    def _keys(self, number: int, name: str, scenarios: Sequence[Scenario]) -> set[Key]:
        return {
            self._key(number, name, scenario, in_flight)
            for scenario in scenarios
            for in_flight in ((0,) if name in _LIMITS else scenario.in_flight)
        }

    def _key(self, number: int, name: str, scenario: Scenario, in_flight: int) -> Key:
        return Key(number, self._network, name, scenario.name, in_flight)


def _end_of(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][-300:] if lines else "it wrote nothing"
