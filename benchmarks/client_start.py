"""How long ``python -m client --help`` takes: ``python -m benchmarks.client_start``.

Programs start by turns: Python that does nothing, Python that imports Typer, the help, the help
of a command (which loads gRPC). What counts is the processor's time; seconds depend on what else
the machine does.
"""

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.processes import ROOT

PROGRAMS: dict[str, Sequence[str]] = {
    "nothing": ("-c", "pass"),
    "import typer": ("-c", "import typer"),
    "--help": ("-m", "client", "--help"),
    "classify --help": ("-m", "client", "classify", "--help"),
}


def main() -> None:
    """Run the rounds; print medians, spreads and ratios."""
    parser = argparse.ArgumentParser(description="How quick the client's help is.")
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name, program in PROGRAMS.items():
            found[name].append(_start(program))
    print(f"Python {platform.python_version()}, {rounds} rounds: median (least to most)")
    for name, starts in found.items():
        cpu, wall = ([start[i] for start in starts] for i in (0, 1))
        ratio = statistics.median(
            mine / other for (mine, _), (other, _) in zip(starts, found["nothing"], strict=True)
        )
        print(f"{name:16} {_spread(cpu)} processor, {_spread(wall)} in all, {ratio:.1f} of nothing")


def _start(program: Sequence[str]) -> tuple[float, float]:
    """Return a program's seconds of processor, and from start to end."""
    before, start_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *program], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    after, end_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, end_s - start_s


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} s ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
