"""What an audit finds."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Problem(StrEnum):
    """What may be wrong with a photo."""

    MISLABELLED = "mislabelled"
    UNREADABLE = "unreadable"
    TINY = "tiny"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near duplicate"


@dataclass(frozen=True)
class Finding:
    """A photo and what may be wrong with it.

    Attributes:
        path: The photo.
        problem: What.
        given: The class it lies under.
        suggested: The class it may be of, for a wrong label.
        score: Mislabelled: out-of-fold probability of the given label, 0 to 1. Near duplicate:
            bits in which the hashes differ. Otherwise 0.
        note: For people, for example which photo it is a copy of.
        exclude: Whether to train without it is advised.
        original: Duplicates: the photo that is kept.
    """

    path: Path
    problem: Problem
    given: str
    suggested: str = ""
    score: float = 0.0
    note: str = ""
    exclude: bool = True
    original: Path | None = None
