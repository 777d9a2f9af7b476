"""A server on the GPU under three kinds of load, and how busy the GPU was meanwhile."""

import json
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.processes import ROOT, serving

_SAMPLED_S = 0.1
WAYS = ("unary JPEG", "streamed JPEG", "raw tensors")


@dataclass(frozen=True)
class Load:
    """How a server is loaded.

    Attributes:
        photos: A folder of JPEG files.
        side: Of raw tensors, pixels.
        processes: That share the load.
        in_flight: Requests of each at the same time.
        seconds: That count.
    """

    photos: Path
    side: int
    processes: int
    in_flight: int
    seconds: float


@dataclass(frozen=True)
class Served:
    """What one way of asking reached.

    Attributes:
        per_s: Images answered a second.
        busy_share: Of the time in which the GPU ran anything; None: nvidia-ml-py is not there.
        steps: Mean microseconds of each step, and images in a batch, where answers were read.
    """

    per_s: float
    busy_share: float | None
    steps: dict[str, float]


def measure(repository: Path, flags: Sequence[str], load: Load) -> dict[str, Served]:
    """Each way in turn, on a server of its own flags."""
    with serving(repository, *flags) as address:
        return {way: _one(way, address, load) for way in WAYS}


def _one(way: str, address: str, load: Load) -> Served:
    with _busy() as samples:
        found = _tensors(address, load) if way == "raw tensors" else [_photos(way, address, load)]
    per_s = sum(one["answered"] / one["seconds"] for one in found)
    known = [one for one in found if "engine_us" in one]
    steps = {
        step: statistics.fmean(one[step] for one in known)
        for step in ("decode_us", "queue_us", "engine_us", "total_us", "batch_size")
        if known
    }
    return Served(per_s, statistics.fmean(samples) / 100 if samples else None, steps)


def _photos(way: str, address: str, load: Load) -> dict[str, float]:
    method = "unary" if way == "unary JPEG" else "stream"
    command = [sys.executable, "-m", "client", "bench", str(load.photos), "--server", address]
    command += ["--method", method, "--processes", str(load.processes), "--warm-up", "2"]
    command += ["-c", str(load.in_flight * load.processes), "--duration", str(load.seconds)]
    done = subprocess.run(
        [*command, "--json", "-"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    found = json.loads(done.stdout)
    return {"answered": found["statuses"].get("OK", 0), "seconds": found["seconds"]}


def _tensors(address: str, load: Load) -> list[dict[str, float]]:
    command = [sys.executable, "-m", "benchmarks.gpu.tensors", address, "--side", str(load.side)]
    command += ["--window", str(load.in_flight), "--seconds", str(load.seconds)]
    floods = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(load.processes)
    ]
    return [json.loads(flood.communicate()[0]) for flood in floods]


@contextmanager
def _busy() -> Iterator[list[int]]:
    """Samples of the GPU's utilisation in percent, taken while the block runs."""
    samples: list[int] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(_SAMPLED_S):
            try:
                samples.append(torch.cuda.utilization())
            except Exception:  # no NVML, whose own classes exist only where it does, or no GPU
                return

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()
