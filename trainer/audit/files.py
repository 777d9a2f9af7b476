"""Files that are no photos, photos that are too small, classes that are too few."""

from collections import Counter
from collections.abc import Sequence

from models.errors import ImageError
from models.image_header import ImageLimits, read_header
from trainer.audit.findings import Finding, Problem
from trainer.data import Photo, Unreadable

TINY_SIDE = 32  # pixels of the short side
_IMBALANCE = 3.0  # largest class over smallest


def unreadable(
    photos: Sequence[Photo], found: Sequence[Unreadable], classes: Sequence[str]
) -> list[Finding]:
    """A finding for each photo that could not be decoded."""
    labels = {photo.path: photo.label for photo in photos}
    return [
        Finding(item.path, Problem.UNREADABLE, classes[labels[item.path]], note=item.reason)
        for item in found
    ]


def tiny(photos: Sequence[Photo], classes: Sequence[str]) -> list[Finding]:
    """Photos whose short side is below 32 pixels, by their headers."""
    findings = []
    for photo in photos:
        try:
            header = read_header(photo.path.read_bytes(), ImageLimits())
        except (OSError, ImageError):
            continue  # listed as unreadable
        if min(header.width, header.height) < TINY_SIDE:
            note = f"{header.width} x {header.height} pixels"
            findings.append(Finding(photo.path, Problem.TINY, classes[photo.label], note=note))
    return findings


def imbalance(photos: Sequence[Photo], classes: Sequence[str]) -> tuple[dict[str, int], str]:
    """Photos by class, and a sentence where the largest class is 3 times the smallest or more."""
    counts = Counter(photo.label for photo in photos)
    by_class = {name: counts[index] for index, name in enumerate(classes)}
    largest, smallest = max(by_class.values()), min(by_class.values())
    if largest < _IMBALANCE * smallest:
        return by_class, ""
    return by_class, (
        f"The largest class has {largest / smallest:.1f} times the photos of the smallest:"
        " look at per-class recall and macro F1, not at accuracy alone"
    )
