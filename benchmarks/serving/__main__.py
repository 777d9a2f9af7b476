"""``python -m benchmarks.serving``: run rounds, resume them, report."""

import argparse
import signal
import sys
import time
from pathlib import Path

from benchmarks.processes import ROOT
from benchmarks.serving.results import Results
from benchmarks.serving.rounds import Bench
from benchmarks.serving.scenarios import SCENARIOS
from benchmarks.serving.served import NETWORKS, WORK


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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default=NETWORKS[0])
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
