"""Photos in the two forms that training and scoring need.

They are decoded before training starts, by ``models.preprocess``, so an unreadable
one is listed and left out then, and never in the middle of an epoch.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from models.image_header import ImageLimits
from models.manifest import InputSpec
from models.preprocess import decode, preprocess
from trainer.data.catalogue import Photo
from trainer.data.pack import Unreadable, read_pack


@dataclass(frozen=True)
class TrainingImages:
    """Training photos, decoded and reduced.

    Attributes:
        images: uint8 [3, h, w] each, sizes differ.
        labels: int64 [n].
        paths: Of each photo.
        digests: SHA-256 of each file.
        unreadable: What was left out.
    """

    images: Sequence[Tensor]
    labels: Tensor
    paths: list[Path]
    digests: list[str]
    unreadable: list[Unreadable]

    def subset(self, keep: Sequence[int]) -> "TrainingImages":
        """The photos at the positions ``keep``."""
        return TrainingImages(
            images=Selection(self.images, keep),
            labels=self.labels[list(keep)],
            paths=[self.paths[i] for i in keep],
            digests=[self.digests[i] for i in keep],
            unreadable=self.unreadable,
        )


@dataclass(frozen=True)
class Selection(Sequence[Tensor]):
    """Some of a sequence of images, by position."""

    source: Sequence[Tensor]
    keep: Sequence[int]

    def __len__(self) -> int:
        return len(self.keep)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        return self.source[self.keep[index]]


@dataclass(frozen=True)
class EvaluationImages:
    """Photos as the server would see them.

    Attributes:
        inputs: uint8 [n, 3, height, width].
        labels: int64 [n].
        paths: Of each photo.
        digests: SHA-256 of each file.
        unreadable: What was left out.
    """

    inputs: Tensor
    labels: Tensor
    paths: list[Path]
    digests: list[str]
    unreadable: list[Unreadable]

    def subset(self, keep: Sequence[int]) -> "EvaluationImages":
        """The photos at the positions ``keep``."""
        return EvaluationImages(
            inputs=self.inputs[list(keep)],
            labels=self.labels[list(keep)],
            paths=[self.paths[i] for i in keep],
            digests=[self.digests[i] for i in keep],
            unreadable=self.unreadable,
        )


def read_training(
    photos: Sequence[Photo], cache_side: int, cache: Path | None = None
) -> TrainingImages:
    """Decode ``photos``, each reduced to a short side of at most ``cache_side`` pixels.

    Args:
        photos: What to read.
        cache_side: Pixels.
        cache: Folder for the decoded photos; in memory alone where it is not given.

    Raises:
        DataError: None of them is readable, or the cache cannot be written.
    """
    pack = read_pack(photos, lambda data: _reduced(data, cache_side), f"train {cache_side}", cache)
    return TrainingImages(
        images=pack,
        labels=torch.tensor([photo.label for photo in pack.photos]),
        paths=[photo.path for photo in pack.photos],
        digests=pack.digests,
        unreadable=pack.unreadable,
    )


def read_evaluation(
    photos: Sequence[Photo], spec: InputSpec, cache: Path | None = None
) -> EvaluationImages:
    """Preprocess ``photos`` exactly as the server does.

    Args:
        photos: What to read.
        spec: The model's input.
        cache: Folder for the decoded photos; in memory alone where it is not given.

    Raises:
        DataError: None of them is readable, or the cache cannot be written.
    """
    kind = f"evaluate {spec.model_dump_json()}"
    pack = read_pack(photos, lambda data: preprocess(data, spec, ImageLimits()), kind, cache)
    return EvaluationImages(
        inputs=pack.stacked(),
        labels=torch.tensor([photo.label for photo in pack.photos]),
        paths=[photo.path for photo in pack.photos],
        digests=pack.digests,
        unreadable=pack.unreadable,
    )


def without_duplicates(training: TrainingImages, held_out: set[str]) -> tuple[TrainingImages, int]:
    """Leave out training photos whose file is, byte for byte, among ``held_out``.

    Returns:
        The remaining photos, and how many were left out.
    """
    keep = [i for i, digest in enumerate(training.digests) if digest not in held_out]
    return training.subset(keep), len(training.digests) - len(keep)


def fingerprint(digests: Sequence[str]) -> str:
    """SHA-256 over the sorted digests: the same photos give the same name in any order."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _reduced(data: bytes, side: int) -> Tensor:
    image = decode(data, ImageLimits(), side)
    _, height, width = image.shape
    scale = side / min(height, width)
    if scale >= 1:
        return image
    size = [round(height * scale), round(width * scale)]
    reduced: Tensor = functional.resize(image, size, antialias=True)
    return reduced
