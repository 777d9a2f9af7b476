"""What batching gains, and how close serving comes to the limit.

    python -m benchmarks.batching

A ResNet-18 at 224 pixels answers a closed loop of JPEG requests: once with batches, once
with a maximum batch of 1, and once without any server (decode and model on all cores:
the limit). Rounds alternate, so that a noisy machine is noisy for all; what counts is
the ratio. Server, load generator and limit share the same cores.
"""

import argparse
import asyncio
import platform
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import torch

from benchmarks import artifact
from benchmarks.networks import resnet18
from benchmarks.processes import serving
from models.image_header import ImageLimits
from models.preprocess import preprocess
from models.repository import ModelRepository
from proto.classify.v1 import classify_pb2, classify_pb2_grpc
from server.pipeline.cores import usable_cores
from server.pipeline.engine import Work
from server.pipeline.torchscript import TorchScriptEngine
from server.pipeline.warm_up import MEASURING_RUNS

ROOT = Path(__file__).resolve().parent.parent
NAME = "resnet18"
PHOTOS = ROOT / "examples" / "photos"


def main() -> None:
    """Run the rounds and print medians, spreads and ratios."""
    arguments = _arguments()
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]
    with tempfile.TemporaryDirectory() as folder:
        artifact.publish(Path(folder), NAME, resnet18(), 224, photos)
        limit = Limit(Path(folder), photos)
        batched = ("--max-batch-size", str(arguments.max_batch_size))
        with serving(folder, *batched) as many, serving(folder, "--max-batch-size", "1") as one:
            contenders = {
                "limit": lambda: limit.images_per_second(arguments.seconds),
                "batched": lambda: _load(many, arguments, photos),
                "batch of 1": lambda: _load(one, arguments, photos),
            }
            rounds: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(arguments.rounds):
                for name, measure in contenders.items():
                    rounds[name].append(measure())
    _report(rounds, arguments)


class Limit:
    """Decode and model without a server: one thread per core, each with the best batch size."""

    def __init__(self, root: Path, photos: list[bytes]) -> None:
        read = ModelRepository(root).read(NAME, 1)
        torch.set_num_threads(1)
        self._photos = photos
        self._spec = read.manifest.input
        self._engine = TorchScriptEngine(read, torch.device("cpu"), "auto")
        seconds = self._engine.warm_up(range(1, 17), MEASURING_RUNS)
        self._batch = min(seconds, key=lambda size: seconds[size] / size)

    def images_per_second(self, seconds: float) -> float:
        """Images a second over all cores."""
        cores = usable_cores()
        with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return sum(pool.map(self._one_core, [seconds] * cores))

    def _one_core(self, seconds: float) -> float:
        started, done = time.perf_counter(), 0
        while (spent := time.perf_counter() - started) < seconds:
            photos = [self._photos[(done + n) % len(self._photos)] for n in range(self._batch)]
            images = [preprocess(photo, self._spec, ImageLimits()) for photo in photos]
            self._engine.run([Work(image, 5) for image in images])
            done += self._batch
        return done / spent


def _load(address: str, arguments: argparse.Namespace, photos: list[bytes]) -> float:
    return asyncio.run(_closed_loop(address, photos, arguments.in_flight, arguments.seconds))


async def _closed_loop(address: str, photos: list[bytes], in_flight: int, seconds: float) -> float:
    """Images a second with ``in_flight`` unary calls always open."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = classify_pb2_grpc.ClassifyServiceStub(channel)
        done = 0
        started = time.perf_counter()

        async def caller(offset: int) -> None:
            nonlocal done
            turn = offset
            while time.perf_counter() - started < seconds:
                image = classify_pb2.Image(encoded=photos[turn % len(photos)])
                await stub.Classify(classify_pb2.ClassifyRequest(image=image))
                turn += 1
                done += 1

        await asyncio.gather(*(caller(offset) for offset in range(in_flight)))
        return done / (time.perf_counter() - started)


def _report(rounds: dict[str, list[float]], arguments: argparse.Namespace) -> None:
    print(f"Python {platform.python_version()}, torch {torch.__version__}, grpc {grpc.__version__}")
    print(f"{usable_cores()} cores, {arguments.in_flight} in flight, {arguments.rounds} rounds")
    for name, figures in rounds.items():
        spread = f"{min(figures):.1f} to {max(figures):.1f}"
        print(f"{name:12s} {statistics.median(figures):7.1f} images/s ({spread})")
    for over in ("batch of 1", "limit"):
        ratios = [a / b for a, b in zip(rounds["batched"], rounds[over], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"batched / {over}: {statistics.median(ratios):.2f} ({spread})")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--max-batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
