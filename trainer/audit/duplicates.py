"""Exact and near copies: by digest, and by a perceptual hash."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.audit.findings import Finding, Problem
from trainer.data import Catalogue, Photo, TrainingImages

_HASH_SIDE = 8  # bits of the hash: 8 x 8
_DCT_SIDE = 32  # pixels it is computed from
NEAR_BITS = 8  # of 64; docs/audit.md says why
_BLOCK = 512  # rows compared at a time
_FLAT = 2.0  # deviation of grey levels below which a hash is of rounding errors


@dataclass(frozen=True)
class Located:
    """A photo, its pixels reduced, and where it lies.

    Attributes:
        photo: Path and class.
        name: Its path relative to the data folder.
        part: "train", "validation" or "test".
        digest: SHA-256 of the file.
        pixels: uint8 [h, w, 3].
    """

    photo: Photo
    name: str
    part: str
    digest: str
    pixels: NDArray[np.uint8]


def locate(root: Path, parts: Catalogue, images: TrainingImages) -> list[Located]:
    """Where each of ``images``, photos of any part of the split, lies."""
    photos = {
        photo.path: (photo, part)
        for part, group in (
            ("train", parts.train),
            ("validation", parts.validation),
            ("test", parts.test),
        )
        for photo in group
    }
    return [
        Located(
            photo=photos[path][0],
            name=str(path.relative_to(root)),
            part=photos[path][1],
            digest=digest,
            pixels=image.permute(1, 2, 0).numpy(),
        )
        for path, digest, image in zip(images.paths, images.digests, images.images, strict=True)
    ]


def duplicates(photos: Sequence[Located], classes: Sequence[str]) -> list[Finding]:
    """A finding for each photo that repeats an earlier one; for both where their labels differ.

    Earlier are test photos, then validation, then training ones: what is held out is kept.
    Which label of a contradiction is right is not known, so both photos are advised against.
    """
    order = {"test": 0, "validation": 1, "train": 2}
    ranked = sorted(photos, key=lambda item: (order[item.part], item.photo.path))
    findings: list[Finding] = []
    first: dict[str, Located] = {}
    distinct: list[Located] = []
    for item in ranked:
        original = first.setdefault(item.digest, item)
        if original is item:
            distinct.append(item)
        else:
            findings += _findings(item, original, Problem.DUPLICATE, 0, classes)
    return findings + _near(distinct, classes)


def _near(photos: Sequence[Located], classes: Sequence[str]) -> list[Finding]:
    # Two plain walls have no frequencies to compare.
    photos = [item for item in photos if item.pixels.mean(axis=2).std() >= _FLAT]
    hashes = np.array([perceptual_hash(item.pixels) for item in photos], dtype=np.uint64)
    copies: dict[int, tuple[int, int]] = {}
    for first, second, bits in _close_pairs(hashes):
        # Kept are the earlier ones; a copy of a copy points to what is kept.
        if first not in copies and second not in copies:
            copies[second] = (first, bits)
    return [
        finding
        for copy, (original, bits) in copies.items()
        for finding in _findings(
            photos[copy], photos[original], Problem.NEAR_DUPLICATE, bits, classes
        )
    ]


def _close_pairs(hashes: NDArray[np.uint64]) -> list[tuple[int, int, int]]:
    """Positions of pairs within ``NEAR_BITS``, the earlier first, and their distance in bits."""
    pairs: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK]
        distances = np.bitwise_count(block[:, None] ^ hashes[None, :])
        for row, column in zip(*np.nonzero(distances <= NEAR_BITS), strict=True):
            first, second = start + int(row), int(column)
            if first < second:
                pairs[first].append((first, second, int(distances[row, column])))
    return [pair for first in sorted(pairs) for pair in pairs[first]]


def perceptual_hash(pixels: NDArray[np.uint8]) -> int:
    """The DCT hash: signs of the lowest frequencies against their median, 64 bits.

    Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), 3.2.1.

    Args:
        pixels: uint8 [h, w, 3].
    """
    grey = Image.fromarray(pixels).convert("L").resize((_DCT_SIDE, _DCT_SIDE), Image.Resampling.BOX)
    values = np.asarray(grey, dtype=np.float64)
    low = (_DCT @ values @ _DCT.T)[:_HASH_SIDE, :_HASH_SIDE].flatten()
    bits = low > np.median(low[1:])  # the first is the mean brightness
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _dct_matrix(side: int) -> NDArray[np.float64]:
    """The type-II discrete cosine transform as a matrix."""
    frequency, place = np.mgrid[0:side, 0:side]
    return np.asarray(np.cos(np.pi * frequency * (2 * place + 1) / (2 * side)), dtype=np.float64)


_DCT = _dct_matrix(_DCT_SIDE)


def _findings(
    copy: Located, original: Located, problem: Problem, bits: int, classes: Sequence[str]
) -> list[Finding]:
    if copy.photo.label != original.photo.label:
        return [
            _finding(copy, original, Problem.CONTRADICTION, bits, classes),
            _finding(original, copy, Problem.CONTRADICTION, bits, classes),
        ]
    return [_finding(copy, original, problem, bits, classes)]


def _finding(
    copy: Located, original: Located, problem: Problem, bits: int, classes: Sequence[str]
) -> Finding:
    contradiction = problem is Problem.CONTRADICTION
    notes = [f"copy of {original.name}"]
    if contradiction:
        notes.append(f"that one is labelled {classes[original.photo.label]}")
    if copy.part != original.part:
        notes.append(f"{copy.part} photo, and that one is for {original.part}")
    return Finding(
        path=copy.photo.path,
        problem=problem,
        given=classes[copy.photo.label],
        suggested=classes[original.photo.label] if contradiction else "",
        score=float(bits),
        note="; ".join(notes),
        original=original.photo.path,
    )
