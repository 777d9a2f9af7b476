"""What decoding at a fraction of the size does to answers:
``python -m benchmarks.scaled_decoding --data DIR``.

Labelled photos, a folder for each of the model's labels, are answered twice: decoded whole, and
as the server decodes photos of so many pixels, by libjpeg-turbo's scaled DCT. Photos are rarely
large enough for that beside a small model's input, so that there are two ways to make them so:
``--side`` has the model read less (a network that ends in a mean over positions takes any size),
``--enlarge`` scales the photo and stores it as a JPEG again.
"""

import argparse
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from benchmarks.labelled import BATCH, labelled_photos
from benchmarks.processes import ROOT
from models.image_header import ImageLimits
from models.manifest import InputSpec
from models.preprocess import decode, resize
from models.repository import ModelRepository
from server.pipeline.torchscript import TorchScriptEngine
from trainer.mcnemar import Paired, pair

_QUALITY = 92  # about what telephones store


@dataclass
class Found:
    """Both answers to all photos so far.

    Attributes:
        scaled: Photos that were decoded at a fraction of their size.
        right: Whether each photo is answered rightly, decoded whole and at a fraction.
        log_loss: Likewise, summed.
        moved: The largest difference of a score, for each photo.
    """

    scaled: int = 0
    right: tuple[list[bool], list[bool]] = field(default_factory=lambda: ([], []))
    log_loss: list[float] = field(default_factory=lambda: [0.0, 0.0])
    moved: list[float] = field(default_factory=list)

    def add(self, scores: tuple[Tensor, Tensor], truth: Tensor) -> None:
        """Count a batch: float32 [n, classes] of whole and scaled photos, int64 [n]."""
        for way, one in enumerate(scores):
            self.right[way].extend((one.argmax(dim=1) == truth).tolist())
            of_truth = one[range(len(truth)), truth].clamp_min(1e-9)
            self.log_loss[way] -= float(of_truth.log().sum())
        self.moved += (scores[0] - scores[1]).abs().amax(dim=1).tolist()

    @property
    def paired(self) -> Paired:
        """Decoded at a fraction against whole."""
        whole, scaled = map(torch.tensor, self.right)
        return pair(scaled, whole)


def main() -> None:
    """Measure and print a table."""
    arguments = _arguments()
    torch.set_num_threads(1)
    repository = ModelRepository(arguments.repository)
    artifact = repository.read(arguments.model, repository.versions(arguments.model)[-1])
    engine = TorchScriptEngine(artifact, torch.device("cpu"), "fp32")
    spec = artifact.manifest.input
    side = arguments.side or spec.height
    spec = spec.model_copy(update={"height": side, "width": side})
    photos = labelled_photos(arguments.data, artifact.manifest)
    found = Found()
    for start in range(0, len(photos), BATCH):
        part = photos[start : start + BATCH]
        truth = torch.tensor([number for _, number in part])
        both = [_both(_file(path, arguments.enlarge), spec, found) for path, _ in part]
        whole, scaled = (torch.stack(images) for images in zip(*both, strict=True))
        found.add((_scores(engine, whole), _scores(engine, scaled)), truth)
    print(
        f"{artifact.manifest.name} at {side}, {len(photos)} photos of {arguments.data.name},",
        end="",
    )
    print(f" {arguments.enlarge} times as large, {found.scaled} of them decoded at a fraction\n")
    print("\n".join(_table(found)))


def _table(found: Found) -> Iterator[str]:
    yield "| decoded | accuracy | log loss |"
    yield "|---|---|---|"
    photos = len(found.moved)
    for way, name in enumerate(("whole", "at a fraction")):
        share = sum(found.right[way]) / photos
        yield f"| {name} | {share:.2%} | {found.log_loss[way] / photos:.4f} |"
    points, low, high = (100 * one for one in (found.paired.difference, *found.paired.interval))
    moved = torch.tensor(found.moved)
    yield (
        f"\n{points:+.2f} points ({low:+.2f} to {high:+.2f}); scores move by"
        f" {moved.median():.4f} (median), {moved.quantile(0.99):.3f} (99 of 100),"
        f" {moved.max():.3f} (most)"
    )


def _file(path: Path, enlarge: int) -> bytes:
    """The photo's file, or that of an enlarged copy."""
    if enlarge == 1:
        return path.read_bytes()
    with Image.open(path) as image:
        size = (image.width * enlarge, image.height * enlarge)
        large = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    out = io.BytesIO()
    large.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _both(data: bytes, spec: InputSpec, found: Found) -> tuple[Tensor, Tensor]:
    """uint8 [3, h, w] as the model reads it: decoded whole, and as the server decodes it."""
    short_side = math.ceil(spec.height / spec.crop_fraction)
    whole, scaled = decode(data, ImageLimits()), decode(data, ImageLimits(), short_side)
    found.scaled += scaled.shape != whole.shape
    return resize(whole, spec), resize(scaled, spec)


def _scores(engine: TorchScriptEngine, images: Tensor) -> Tensor:
    return engine.scores(engine.features_and_logits(images)[1])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="photos it did not learn from")
    parser.add_argument("--repository", type=Path, default=ROOT / "models" / "zoo")
    parser.add_argument("--model", default="cats-vs-dogs")
    parser.add_argument("--side", type=int, help="what the model reads; default: its own")
    parser.add_argument("--enlarge", type=int, default=1, help="how many times each side")
    return parser.parse_args()


if __name__ == "__main__":
    main()
