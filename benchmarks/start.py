"""What the server adds to a model's start and memory: ``python -m benchmarks.start``.

Three processes start by turns. The bare one imports torch, loads a ResNet-18 as the engine does,
and warms it up: nothing less could answer. The others are the server with the same model, which
measures its batches anew or finds what an earlier start measured. What counts is the ratio of the
seconds until each is ready, and of the memory that each holds then.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import artifact
from benchmarks.networks import resnet18
from benchmarks.processes import ROOT
from server.pipeline.cores import usable_cores
from server.settings import Settings

NAME = "resnet18"
PHOTOS = ROOT / "examples" / "photos"
_MB = 2**20
_LANES = 2  # for both


@dataclass(frozen=True)
class Start:
    """One start.

    Attributes:
        seconds: Until the process was ready.
        resident: Bytes of memory that it held then.
    """

    seconds: float
    resident: int


def main() -> None:
    """Run the rounds; print medians, spreads and ratios."""
    arguments = _arguments()
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "models"
        repository.mkdir()
        artifact.publish(repository, NAME, resnet18(), 224, photos)
        commands = {
            "bare": _bare(repository),
            "server": _server(repository, "--no-saved-tuning"),
            "again": _server(repository, "--compile-cache", str(Path(folder) / "cache")),
        }
        _start(commands["again"])  # it measures, for those that come after it
        rounds: dict[str, list[Start]] = {name: [] for name in commands}
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                rounds[name].append(_start(command))
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {usable_cores()} cores")
    print(f"{arguments.rounds} rounds, ResNet-18 at 224, batches of 1 to {_batch()}")
    for name, starts in rounds.items():
        _report(f"{name}, ready after", [start.seconds for start in starts], "s")
        _report(f"{name}, resident", [start.resident / _MB for start in starts], "MiB")
    for name in ("server", "again"):
        pairs = list(zip(rounds[name], rounds["bare"], strict=True))
        _report(f"{name} / bare, start", [ours.seconds / bare.seconds for ours, bare in pairs])
        _report(f"{name} / bare, memory", [ours.resident / bare.resident for ours, bare in pairs])


def _bare(repository: Path) -> list[str]:
    cores = usable_cores()
    lanes = min(_LANES, cores)
    numbers = (lanes, max(1, cores // lanes), _batch())
    return ["benchmarks.bare", str(repository), NAME, *map(str, numbers)]


def _server(repository: Path, *flags: str) -> list[str]:
    plain = ["--port", "0", "--metrics-port", "0", "--engine", "torchscript", *flags]
    return ["server", "--repository", str(repository), "--lanes", str(_LANES), *plain]


def _batch() -> int:
    return int(Settings.model_fields["max_batch_size"].default)


def _start(command: Sequence[str]) -> Start:
    """Start a module, wait until it says that it is ready, look at its memory, end it."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        for line in process.stdout or ():
            if _says_ready(line):
                return Start(time.perf_counter() - started, _resident(process.pid))
    finally:
        process.terminate()
        process.communicate()
    raise RuntimeError(f"{command[0]} ended before it was ready")


def _says_ready(line: str) -> bool:
    if line.strip() == "ready":
        return True
    try:
        return bool(json.loads(line).get("message") == "ready")
    except ValueError:
        return False


def _resident(pid: int) -> int:
    """Bytes, from proc(5)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS")


def _report(name: str, figures: Sequence[float], unit: str = "") -> None:
    spread = f"{min(figures):.2f} to {max(figures):.2f}"
    print(f"{name:24s} {statistics.median(figures):8.2f} {unit} ({spread})")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
