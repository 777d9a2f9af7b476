"""What an explanation costs beside a classification: ``python -m benchmarks.explain``.

Both run in the served engine on the same batch, in turns, on one thread: every image is
classified, or every image is classified and explained. The ratio is what counts.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from pydantic import TypeAdapter

from benchmarks.artifact import publish
from models.repository import ModelRepository
from server.pipeline.engine import Explain, Work
from server.pipeline.torchscript import TorchScriptEngine
from trainer.networks import build
from trainer.recipe import NetworkSpec

PHOTOS = Path("examples/photos")
SIDE = 224
NETWORK: TypeAdapter[NetworkSpec] = TypeAdapter(NetworkSpec)


def _measure(network: str, size: int, rounds: int, device: str) -> dict[str, object]:
    engine = _engine(network, device)
    image = torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8)
    plain = [Work(image, 5) for _ in range(size)]
    explained = [Work(image, 5, Explain()) for _ in range(size)]
    for batch in (plain, explained) * 3:
        engine.run(batch)
    ratios = [_seconds(engine, explained) / _seconds(engine, plain) for _ in range(rounds)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    names = {"network": network, "batch": size, "dtype": str(engine.dtype), "device": device}
    return {**names, "explain_over_classify": round(middle, 3), "quartiles": [low, high]}


def _seconds(engine: TorchScriptEngine, batch: list[Work]) -> float:
    began = time.perf_counter()
    engine.run(batch)
    return time.perf_counter() - began


def _engine(network: str, device: str) -> TorchScriptEngine:
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]
    with tempfile.TemporaryDirectory() as folder:
        module = build(NETWORK.validate_python({"name": network}), classes=10).eval()
        publish(Path(folder), network, module, SIDE, photos)
        artifact = ModelRepository(Path(folder)).read(network, 1)
    return TorchScriptEngine(artifact, torch.device(device), "auto")


def main() -> None:
    """Print a line for each network and batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[8])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for network in arguments.networks:
        for size in arguments.batch_sizes:
            print(json.dumps(_measure(network, size, arguments.rounds, arguments.device)))


if __name__ == "__main__":
    main()
