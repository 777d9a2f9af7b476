"""What the traffic sends, and what the tiny artifact must answer to it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.image_header import ImageLimits
from models.preprocess import preprocess
from tests.artifacts import TINY_LABELS, TinyModel, publish_tiny_artifact, tiny_input
from tests.load.ledger import Photo
from tests.unit.models import images

# Arithmetic that the reference can be compared with.
FLAGS = ("--precision", "fp32")
_GOOD = 24
_SLOW_SIDES = (2400, 1600)


class TouchyModel(TinyModel):
    """Fails on a white image, as an engine may on something nobody thought of."""

    @torch.jit.export
    def features(self, images: Tensor) -> Tensor:
        pixels = images.float()
        if bool((pixels.mean(dim=(1, 2, 3)) > 250.0).any()):
            raise RuntimeError("a poisoned image")
        return self.body.features(pixels / 255.0)


@dataclass(frozen=True)
class Photos:
    """Photos by what is to come of them."""

    good: Sequence[Photo]
    slow: Sequence[Photo]
    bad: Sequence[Photo]
    poison: Sequence[Photo]


def publish_touchy_artifact(root: Path, **changes: object) -> None:
    """The tiny artifact, but that it fails on white."""
    publish_tiny_artifact(root, module=TouchyModel(), **changes)


def photos(seed: int) -> Photos:
    """Good ones of as many colours, so that each has scores of its own; slow ones are large."""
    chance = random.Random(seed)

    def good(size: tuple[int, int], image_format: str) -> Photo:
        colour = tuple(chance.randrange(20, 220) for _ in range(3))
        data = images.encode(images.Image.new("RGB", size, colour), image_format)
        return Photo(data, "OK", reference(data))

    hostile = (b"?", images.HTML, images.jpeg_claiming(20_000, 20_000), images.with_damaged_idat())
    white = images.encode(images.Image.new("RGB", (20, 20), (255, 255, 255)), "PNG")
    return Photos(
        good=[good((40, 30), ("PNG", "JPEG", "WEBP")[turn % 3]) for turn in range(_GOOD)],
        slow=[good(_SLOW_SIDES, "PNG") for _ in range(2)],
        bad=[Photo(data, "INVALID_ARGUMENT") for data in hostile],
        poison=[Photo(white, "INTERNAL")],
    )


def reference(data: bytes) -> dict[str, float]:
    """The probability of each label, computed here for this photo alone."""
    pixels = preprocess(data, tiny_input(), ImageLimits())
    with torch.inference_mode():
        scores = TinyModel()(pixels[None]).softmax(1)[0]
    return dict(zip(TINY_LABELS, scores.tolist(), strict=True))
