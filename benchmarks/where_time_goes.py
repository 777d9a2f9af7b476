"""Where one request's time goes, and how cost grows: ``python -m benchmarks.where_time_goes``.

Four measurements, drawn side by side: the steps of a request by load, from what answers say of
themselves and what their caller sees; decoding by the size of the photo; the engine by network and
batch; and, simulated from the measured batch times, the 99th percentile by load and number
of replicas behind a round robin.
"""

import argparse
import asyncio
import json
import math
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import artifact
from benchmarks.batching_policy import CAPACITY, ENGINE, POLICIES
from benchmarks.networks import resnet18, torchvision_resnet
from benchmarks.photos import BUNDLED, SMALL, write_photos
from benchmarks.processes import serving
from benchmarks.simulation import Simulation, poisson
from client import AsyncClient
from models.image_header import ImageLimits
from models.manifest import InputSpec
from models.preprocess import preprocess
from models.repository import ModelRepository
from server.pipeline.cores import usable_cores
from server.pipeline.engine import Work
from server.pipeline.torchscript import TorchScriptEngine
from trainer.networks import Network

IN_FLIGHT = (1, 8, 32, 128)
STEPS = ("network and gRPC", "the rest of the server", "decode", "queue", "engine")
PHOTO_SIDES = ((500, 375), (1000, 750), (2000, 1500), (4000, 3000))  # pixels: width and height
BATCHES = (1, 2, 4, 8, 16)
REPLICAS = (1, 2, 4, 8)
LOADS = (0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95)
_SIDE = 224
_DEADLINE_S = 60.0  # nobody gives up: what is shown is waiting
_SIMULATED_S = 300.0
_MILLION = 1e6

Steps = dict[str, float]


async def steps_of_requests(
    address: str, photos: Sequence[bytes], in_flight: int, seconds: float
) -> Steps:
    """Medians of what each step took, in ms, with ``in_flight`` requests always open."""
    found: list[tuple[float, ...]] = []
    async with AsyncClient(address) as client:
        ends = time.perf_counter() + seconds

        async def caller(offset: int) -> None:
            number = offset
            while time.perf_counter() < ends:
                began = time.perf_counter()
                timings = (await client.classify(photos[number % len(photos)])).timings
                seen_us = (time.perf_counter() - began) * _MILLION
                inside = timings.decode_us + timings.queue_us + timings.engine_us
                found.append(
                    (
                        seen_us - timings.total_us,
                        timings.total_us - inside,
                        timings.decode_us,
                        timings.queue_us,
                        timings.engine_us,
                    )
                )
                number += 1

        await asyncio.gather(*(caller(offset) for offset in range(in_flight)))
    warm = found[in_flight:]
    return {
        step: statistics.median(values) / 1000
        for step, values in zip(STEPS, zip(*warm, strict=True), strict=True)
    }


def decoding(folder: Path) -> dict[str, float]:
    """Milliseconds to decode and resize a photo, by its megapixels."""
    spec = InputSpec(height=_SIDE, width=_SIDE, mean=(0, 0, 0), std=(1, 1, 1))
    found = {}
    for width, height in PHOTO_SIDES:
        (path,) = write_photos(folder / str(width), (width, height), 1)
        decode = partial(preprocess, path.read_bytes(), spec, ImageLimits())
        found[f"{width * height / _MILLION:g}"] = _best_ms(decode, 20)
    return found


def engines(folder: Path, photos: Sequence[bytes]) -> dict[str, dict[str, float]]:
    """Milliseconds for a batch on one thread, by network and size."""
    networks: dict[str, tuple[Network, int]] = {
        "ResNet-18 at 64": (resnet18(), 64),
        "ResNet-18 at 224": (torchvision_resnet("resnet18"), _SIDE),
        "ResNet-50 at 224": (torchvision_resnet("resnet50"), _SIDE),
    }
    found = {}
    for number, (name, (network, side)) in enumerate(networks.items()):
        artifact.publish(folder, f"network{number}", network, side, photos)
        read = ModelRepository(folder).read(f"network{number}", 1)
        engine = TorchScriptEngine(read, torch.device("cpu"), "auto")
        image = Work(torch.zeros((3, side, side), dtype=torch.uint8), top_k=5)
        found[name] = {
            str(size): _best_ms(partial(engine.run, [image] * size), 6) for size in BATCHES
        }
    return found


def replicas() -> dict[str, list[float]]:
    """Simulated p99 in ms, by number of replicas, for each of `LOADS`."""
    ours = POLICIES[0]
    found: dict[str, list[float]] = {}
    for count in REPLICAS:
        waits = []
        for load in LOADS:
            simulation = Simulation(ENGINE, ours, (_DEADLINE_S,), seed=0)
            arrivals = _every(count, poisson(count * load * CAPACITY, random.Random(count)))
            outcome = simulation.run(arrivals, _SIMULATED_S)
            ordered = sorted(outcome.waits_s)
            waits.append(1000 * ordered[int(0.99 * (len(ordered) - 1))])
        found[str(count)] = waits
    return found


def _every(count: int, arrivals: Iterator[float]) -> Iterator[float]:
    """What one of ``count`` replicas gets of a round robin."""
    return islice(arrivals, 0, None, count)


def _best_ms(call: Callable[[], object], times: int) -> float:
    """Of several runs: what disturbs a run only makes it longer."""
    best = math.inf
    for _ in range(times):
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return round(1000 * best, 3)


def main() -> None:
    """Measure, write JSON and plot, print."""
    arguments = _arguments()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("networks", "served"):
            (folder / part).mkdir()
        bundled = [path.read_bytes() for path in sorted(BUNDLED.glob("*.jpg"))]
        photos = [path.read_bytes() for path in write_photos(folder / "photos", SMALL, 8)]
        found = {
            "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
            "cores": usable_cores(),
            "decoding_ms": decoding(folder / "large"),
            "engine_ms": engines(folder / "networks", bundled),
            "replicas_p99_ms": replicas(),
        }
        artifact.publish(
            folder / "served", "resnet18", torchvision_resnet("resnet18"), _SIDE, bundled
        )
        with serving(folder / "served") as address:
            found["steps_ms"] = {
                str(count): asyncio.run(
                    steps_of_requests(address, photos, count, arguments.seconds)
                )
                for count in IN_FLIGHT
            }
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "where-time-goes.json").write_text(json.dumps(found, indent=1) + "\n")
    _plot(found, arguments.output / "where-time-goes.png")
    print(json.dumps(found, indent=1))


def _plot(found: dict, path: Path) -> None:
    figure = Figure(figsize=(11, 7.4), layout="constrained")
    (steps, photo), (engine, several) = figure.subplots(2, 2)
    _plot_steps(steps, found["steps_ms"])
    megapixels = [float(key) for key in found["decoding_ms"]]
    photo.plot(megapixels, list(found["decoding_ms"].values()), "-o")
    photo.set(
        title="decoding, one thread", xlabel="megapixels of the photo", ylabel="ms", ylim=(0, None)
    )
    for name, by_batch in found["engine_ms"].items():
        sizes = [int(size) for size in by_batch]
        engine.plot(sizes, [ms / size for size, ms in zip(sizes, by_batch.values(), strict=True)],
                    "-o", label=name)  # fmt: skip
    engine.set(
        title="engine, one thread",
        xlabel="images in the batch",
        ylabel="ms an image",
        ylim=(0, None),
    )
    engine.legend(fontsize=8)
    for count, waits in found["replicas_p99_ms"].items():
        several.plot(LOADS, waits, "-o", label=f"{count} replica{'s' * (count != '1')}")
    several.set(
        title="p99 by load, simulated", xlabel="offered load over capacity", ylabel="ms",
        ylim=(0, None),
    )  # fmt: skip
    several.legend(fontsize=8)
    for axes in (photo, engine, several):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _plot_steps(axes: Axes, by_load: dict[str, Steps]) -> None:
    bottom = [0.0] * len(by_load)
    for step in STEPS:
        heights = [taken[step] for taken in by_load.values()]
        axes.bar(list(by_load), heights, bottom=bottom, label=step)
        bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
    axes.set(title="one request, medians", xlabel="requests in flight", ylabel="ms")
    axes.legend(fontsize=8)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each load")
    parser.add_argument("--output", type=Path, default=Path("docs/plots"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
