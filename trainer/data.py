"""Labelled photos: found, checked, split and kept in memory.

A data set is one or more folders of class folders. Photos are decoded by
``models.preprocess`` before training starts, so an unreadable one is listed and
left out then, and never in the middle of an epoch.
"""

import hashlib
import os
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from models.errors import ImageError
from models.image_header import ImageLimits
from models.manifest import InputSpec
from models.preprocess import decode, resize
from trainer.errors import DataError
from trainer.recipe import DataSpec

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


@dataclass(frozen=True)
class Photo:
    """A photo on disk and the index of its class."""

    path: Path
    label: int


@dataclass(frozen=True)
class Unreadable:
    """A photo that was left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Catalogue:
    """The photos of a data set before they are read.

    Attributes:
        classes: Folder names, sorted; their positions are the labels.
        train: Photos to train on.
        validation: Held out from training, for choices and calibration.
        test: Scored at the end.
    """

    classes: tuple[str, ...]
    train: tuple[Photo, ...]
    validation: tuple[Photo, ...]
    test: tuple[Photo, ...]


@dataclass(frozen=True)
class TrainingImages:
    """Training photos, decoded and reduced.

    Attributes:
        images: uint8 [3, h, w] each, sizes differ.
        labels: int64 [n].
        digests: SHA-256 of each file.
        unreadable: What was left out.
    """

    images: list[Tensor]
    labels: Tensor
    digests: list[str]
    unreadable: list[Unreadable]


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


def catalogue(root: Path, spec: DataSpec, seed: int) -> Catalogue:
    """Find the photos below ``root`` and split off the validation share, per class.

    Raises:
        DataError: A folder is missing, there are fewer than two classes, or one is empty.
    """
    classes = _class_names(root, spec.train)
    photos = _photos(root, spec.train, classes)
    train, validation = _split(photos, spec.validation_fraction, seed)
    test = _photos(root, spec.test, classes)
    return Catalogue(classes, tuple(train), tuple(validation), tuple(test))


def read_training(photos: Sequence[Photo], cache_side: int) -> TrainingImages:
    """Decode ``photos``, each reduced to a short side of at most ``cache_side`` pixels.

    Raises:
        DataError: None of them is readable.
    """
    kept, read, unreadable = _read_all(photos, lambda image: _reduce(image, cache_side))
    return TrainingImages(
        images=[image for image, _ in read],
        labels=torch.tensor([photo.label for photo in kept]),
        digests=[digest for _, digest in read],
        unreadable=unreadable,
    )


def read_evaluation(photos: Sequence[Photo], spec: InputSpec) -> EvaluationImages:
    """Preprocess ``photos`` exactly as the server does.

    Raises:
        DataError: None of them is readable.
    """
    kept, read, unreadable = _read_all(photos, lambda image: resize(image, spec))
    return EvaluationImages(
        inputs=torch.stack([image for image, _ in read]),
        labels=torch.tensor([photo.label for photo in kept]),
        paths=[photo.path for photo in kept],
        digests=[digest for _, digest in read],
        unreadable=unreadable,
    )


def without_duplicates(training: TrainingImages, held_out: set[str]) -> tuple[TrainingImages, int]:
    """Leave out training photos whose file is, byte for byte, among ``held_out``.

    Returns:
        The remaining photos, and how many were left out.
    """
    keep = [i for i, digest in enumerate(training.digests) if digest not in held_out]
    remaining = TrainingImages(
        images=[training.images[i] for i in keep],
        labels=training.labels[keep],
        digests=[training.digests[i] for i in keep],
        unreadable=training.unreadable,
    )
    return remaining, len(training.digests) - len(keep)


def fingerprint(digests: Sequence[str]) -> str:
    """SHA-256 over the sorted digests: the same photos give the same name in any order."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _class_names(root: Path, folders: Sequence[str]) -> tuple[str, ...]:
    names: set[str] = set()
    for folder in folders:
        path = root / folder
        if not path.is_dir():
            raise DataError(f"{path} is missing: --data must hold {', '.join(folders)}")
        names.update(entry.name for entry in path.iterdir() if _is_class_folder(entry))
    if len(names) < 2:  # noqa: PLR2004 - one class needs no classifier
        raise DataError(
            f"{root} has {len(names)} class folder(s) in {', '.join(folders)}; two are needed"
        )
    return tuple(sorted(names))


def _is_class_folder(entry: Path) -> bool:
    return entry.is_dir() and not entry.name.startswith(".")


def _photos(root: Path, folders: Sequence[str], classes: Sequence[str]) -> list[Photo]:
    photos = []
    for label, name in enumerate(classes):
        paths = [
            path
            for folder in folders
            for path in sorted((root / folder / name).glob("*"))
            if path.suffix.lower() in IMAGE_SUFFIXES
        ]
        if not paths:
            raise DataError(f"class {name!r} has no photo in {', '.join(folders)} below {root}")
        photos += [Photo(path, label) for path in paths]
    return photos


def _split(photos: Sequence[Photo], fraction: float, seed: int) -> tuple[list[Photo], list[Photo]]:
    by_label: dict[int, list[Photo]] = defaultdict(list)
    for photo in photos:
        by_label[photo.label].append(photo)
    train: list[Photo] = []
    validation: list[Photo] = []
    for label in sorted(by_label):
        group = by_label[label]
        random.Random(f"{seed}-{label}").shuffle(group)
        held_out = max(1, round(len(group) * fraction))
        if held_out >= len(group):
            raise DataError(f"class {label} has too few photos to hold any out: {len(group)}")
        validation += group[:held_out]
        train += group[held_out:]
    return train, validation


def _read_all(
    photos: Sequence[Photo], shape: Callable[[Tensor], Tensor]
) -> tuple[list[Photo], list[tuple[Tensor, str]], list[Unreadable]]:
    """Decode in parallel: the readable photos, their (image, digest), and the rest."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(pool.map(lambda photo: _read(photo, shape), photos))
    kept, read, unreadable = [], [], []
    for photo, outcome in zip(photos, outcomes, strict=True):
        if isinstance(outcome, Unreadable):
            unreadable.append(outcome)
        else:
            kept.append(photo)
            read.append(outcome)
    if not kept:
        raise DataError(f"none of {len(photos)} photos can be read; first: {unreadable[0].reason}")
    return kept, read, unreadable


def _read(photo: Photo, shape: Callable[[Tensor], Tensor]) -> tuple[Tensor, str] | Unreadable:
    try:
        data = photo.path.read_bytes()
        return shape(decode(data, ImageLimits())), hashlib.sha256(data).hexdigest()
    except OSError as error:
        return Unreadable(photo.path, f"cannot be read: {error.strerror}")
    except ImageError as error:
        return Unreadable(photo.path, str(error))


def _reduce(image: Tensor, side: int) -> Tensor:
    _, height, width = image.shape
    scale = side / min(height, width)
    if scale >= 1:
        return image
    size = [round(height * scale), round(width * scale)]
    reduced: Tensor = functional.resize(image, size, antialias=True)
    return reduced
