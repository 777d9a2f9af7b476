"""Exact and near copies: by digest, and by a perceptual hash."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.audit.findings import Finding, Problem
from trainer.data import Photo

_HASH_SIDE = 8  # bits of the hash: 8 x 8
_DCT_SIDE = 32  # pixels it is computed from
NEAR_BITS = 8  # of 64; docs/audit.md says why
_BLOCK = 512  # rows compared at a time


@dataclass(frozen=True)
class Located:
    """A photo, its pixels reduced, and where it lies.

    Attributes:
        photo: Path and class.
        part: "train", "validation" or "test".
        digest: SHA-256 of the file.
        pixels: uint8 [h, w, 3].
    """

    photo: Photo
    part: str
    digest: str
    pixels: NDArray[np.uint8]


def duplicates(photos: Sequence[Located], classes: Sequence[str]) -> list[Finding]:
    """A finding for each photo that repeats an earlier one.

    Earlier are test photos, then validation, then training ones: what is held out is kept.
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
            findings.append(_finding(item, original, Problem.DUPLICATE, 0, classes))
    return findings + _near(distinct, classes)


def _near(photos: Sequence[Located], classes: Sequence[str]) -> list[Finding]:
    hashes = np.array([perceptual_hash(item.pixels) for item in photos], dtype=np.uint64)
    copies: dict[int, tuple[int, int]] = {}
    for first, second, bits in _close_pairs(hashes):
        # Kept are the earlier ones; a copy of a copy points to what is kept.
        if first not in copies and second not in copies:
            copies[second] = (first, bits)
    return [
        _finding(photos[copy], photos[original], Problem.NEAR_DUPLICATE, bits, classes)
        for copy, (original, bits) in copies.items()
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


def file_digest(photo: Photo) -> str:
    """SHA-256 of a photo's file."""
    return hashlib.sha256(photo.path.read_bytes()).hexdigest()


def _finding(
    copy: Located, original: Located, problem: Problem, bits: int, classes: Sequence[str]
) -> Finding:
    notes = [f"copy of {original.photo.path}"]
    if copy.part != original.part:
        notes.append(f"{copy.part} photo, and that one is for {original.part}")
    contradiction = copy.photo.label != original.photo.label
    if contradiction:
        notes.append(f"that one is labelled {classes[original.photo.label]}")
    return Finding(
        path=copy.photo.path,
        problem=problem,
        given=classes[copy.photo.label],
        suggested=classes[original.photo.label] if contradiction else "",
        score=float(bits),
        note="; ".join(notes),
        original=original.photo.path,
    )
