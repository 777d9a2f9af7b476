"""What brownout costs in accuracy and saves in time: ``python -m benchmarks.brownout --data DIR``.

Labelled photos, a folder for each of the model's labels, are read at the model's own size and
answered as they are and shrunk, by the server's own engines; times are of batches of 8 by turns.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.labelled import BATCH, labelled_photos
from benchmarks.processes import ROOT
from models.image_header import ImageLimits
from models.manifest import InputSpec
from models.preprocess import preprocess
from models.repository import ModelRepository
from server.pipeline.brownout import ShrunkEngine
from server.pipeline.torchscript import TorchScriptEngine, time_batches

_ROUNDS = 7


def main() -> None:
    """Measure and print a table."""
    arguments = _arguments()
    torch.set_num_threads(1)
    repository = ModelRepository(arguments.repository)
    artifact = repository.read(arguments.model, repository.versions(arguments.model)[-1])
    spec = artifact.manifest.input
    engine = TorchScriptEngine(artifact, torch.device("cpu"), "auto")
    ways: dict[int, Callable[[Tensor], Tensor]] = {
        spec.height: lambda images: engine.scores(engine.features_and_logits(images)[1])
    }
    ways |= {side: ShrunkEngine(engine, side).scores for side in arguments.sides}
    photos = labelled_photos(arguments.data, artifact.manifest)
    right, log_loss = _accuracy(photos, spec, ways)
    gains = _gains(ways, spec)
    print(
        f"{artifact.manifest.name}, {len(photos)} photos of {arguments.data.name}, {engine.dtype}"
    )
    print("\n| side | accuracy | log loss | speed at batch 8 |\n|---|---|---|---|")
    for side in ways:
        share = right[side] / len(photos)
        print(f"| {side} | {share:.1%} | {log_loss[side] / len(photos):.3f} | {gains[side]:.2f} |")


def _accuracy(
    photos: list[tuple[Path, int]], spec: InputSpec, ways: dict[int, Callable[[Tensor], Tensor]]
) -> tuple[dict[int, int], dict[int, float]]:
    """How many are right, and the sum of log losses, by side."""
    right, log_loss = dict.fromkeys(ways, 0), dict.fromkeys(ways, 0.0)
    for start in range(0, len(photos), BATCH):
        part = photos[start : start + BATCH]
        images = torch.stack(
            [preprocess(path.read_bytes(), spec, ImageLimits()) for path, _ in part]
        )
        truth = torch.tensor([number for _, number in part])
        for side, scores_of in ways.items():
            scores = scores_of(images)
            right[side] += int((scores.argmax(dim=1) == truth).sum())
            log_loss[side] -= float(scores[range(len(part)), truth].clamp_min(1e-9).log().sum())
    return right, log_loss


def _gains(ways: dict[int, Callable[[Tensor], Tensor]], spec: InputSpec) -> dict[int, float]:
    """How many times faster than whole, medians over rounds of turns."""
    shape = (spec.height, spec.width)
    rounds = [
        {side: time_batches(run, shape, [BATCH], 3)[BATCH] for side, run in ways.items()}
        for _ in range(_ROUNDS)
    ]
    return {
        side: statistics.median(one[spec.height] / one[side] for one in rounds) for side in ways
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="photos that no model learned from"
    )
    parser.add_argument("--repository", type=Path, default=ROOT / "models" / "zoo")
    parser.add_argument("--model", default="cats-vs-dogs")
    parser.add_argument("--sides", type=int, nargs="+", default=[144, 128, 112, 96, 80])
    return parser.parse_args()


if __name__ == "__main__":
    main()
