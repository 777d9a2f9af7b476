"""``python -m benchmarks.serving``: run rounds, resume them, report."""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.peers import environments
from benchmarks.peers.catalogue import Settings
from benchmarks.photos import write_photos
from benchmarks.processes import ROOT
from benchmarks.serving.contenders import contenders
from benchmarks.serving.measure import NotReadyError, measure, settle, wait_until_ready
from benchmarks.serving.results import Key, Results
from benchmarks.serving.scenarios import SCENARIOS, Scenario
from client.bench.photos import Photos, read_photos

SIDE = 224
LIMITS = "limits"
WORK = environments.folder("work")


def main() -> None:
    """Run what is left of the rounds, or report what there is."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers end, too
    results = Results(arguments.results)
    if arguments.report:
        from benchmarks.serving.report import report  # noqa: PLC0415 (matplotlib)

        report(results, arguments.plot)
        return
    scenarios = [
        one.only(arguments.in_flight) for one in SCENARIOS if one.name in arguments.scenarios
    ]
    bench = Bench(arguments.network, scenarios, results)
    until = time.monotonic() + 60 * arguments.minutes
    for number in range(arguments.rounds):
        for contender in bench.order(number, arguments.only):
            if bench.is_done(number, contender):
                continue
            if time.monotonic() > until:
                print("not finished: the same command goes on")
                return
            bench.run(number, contender)
    print("finished")


class Bench:
    """The rounds over one network."""

    def __init__(self, network: str, scenarios: Sequence[Scenario], results: Results) -> None:
        self._network = network
        self._scenarios = scenarios
        self._results = results
        self._contenders = {one.name: one for one in contenders()}
        self._photos = {one.name: _photos(one) for one in scenarios}
        self._settings = Settings(_model(network), SIDE)

    def order(self, number: int, only: Sequence[str]) -> list[str]:
        """Return who is measured in a round, by turns first."""
        names = [name for name in (LIMITS, *self._contenders) if not only or name in only]
        turn = number % len(names)
        return names[turn:] + names[:turn]

    def is_done(self, number: int, name: str) -> bool:
        """Tell whether the results hold all of a contender's measurements of a round."""
        return self._keys(number, name) <= {key for key, _ in self._results}

    def run(self, number: int, name: str) -> None:
        """Start a contender, measure every load, end it."""
        print(f"round {number + 1}: {name}")
        if name == LIMITS:
            self._limits(number)
            return
        contender = self._contenders[name]
        log = WORK / f"{name}.log"
        with contender.running(self._settings, log) as running:
            try:
                first = self._photos[self._scenarios[0].name].images[0]
                ready_s = wait_until_ready(running, first)
            except NotReadyError as error:
                self._failed(number, name, f"{error}; {_end_of(log)}")
                return
            about = {
                "version": contender.version(),
                "ready_s": round(ready_s, 1),
                "idle_cores": round(settle(running, first), 3),
            }
            for scenario in self._scenarios:
                photos = self._photos[scenario.name]
                for in_flight in scenario.in_flight:
                    figures = measure(running, photos, in_flight, scenario.seconds)
                    key = self._key(number, name, scenario, in_flight)
                    self._results.add(key, asdict(figures) | about)
                    print(f"  {scenario.name} {in_flight}: {figures.rate}/s, {figures.statuses}")

    def _limits(self, number: int) -> None:
        for scenario in self._scenarios:
            model, batch = self._settings.model, self._settings.max_batch
            command = [
                *(sys.executable, "-m", "benchmarks.limits", str(model.parents[2])),
                *(model.parents[1].name, str(WORK / f"photos-{scenario.name}")),
                *("--batch", str(batch)),
            ]
            out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            found = json.loads(out.stdout)
            self._results.add(self._key(number, LIMITS, scenario, 0), found)
            print(f"  {scenario.name}: {found}")

    def _failed(self, number: int, name: str, reason: str) -> None:
        print(f"  {name} failed: {reason}")
        for key in self._keys(number, name):
            self._results.add(key, {"failed": reason})

    def _keys(self, number: int, name: str) -> set[Key]:
        return {
            self._key(number, name, scenario, in_flight)
            for scenario in self._scenarios
            for in_flight in ((0,) if name == LIMITS else scenario.in_flight)
        }

    def _key(self, number: int, name: str, scenario: Scenario, in_flight: int) -> Key:
        return Key(number, self._network, name, scenario.name, in_flight)


def _photos(scenario: Scenario) -> Photos:
    folder = WORK / f"photos-{scenario.name}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=WORK) as unfinished:
            write_photos(Path(unfinished) / "photos", scenario.photo, scenario.photos)
            (Path(unfinished) / "photos").rename(folder)
    return read_photos(str(path) for path in sorted(folder.glob("*.jpg")))


def _model(network: str) -> Path:
    """Return the TorchScript file of the artifact that all serve; publish it once."""
    repository = WORK / "repository"
    model = repository / network / "1" / "model.pt"
    if not model.exists():
        repository.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.publish", network, str(repository)]
        subprocess.run(command, cwd=ROOT, check=True)
    return model


def _end_of(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][-300:] if lines else "it wrote nothing"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--network", choices=("resnet18", "resnet50"), default="resnet18")
    parser.add_argument("--scenarios", nargs="+", default=[one.name for one in SCENARIOS])
    parser.add_argument("--in-flight", type=int, nargs="+", default=[], help="some of the loads")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="some contenders")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--minutes", type=float, default=1e9, help="begin no contender after so long"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "plots" / "serving.jsonl")
    parser.add_argument("--report", action="store_true", help="print a table, draw the plot")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "plots" / "serving.png")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    WORK.mkdir(parents=True, exist_ok=True)
    return arguments


if __name__ == "__main__":
    main()
