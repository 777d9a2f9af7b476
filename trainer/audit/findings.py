"""What an audit finds."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Problem(StrEnum):
    """What may be wrong with a photo; a contradiction is a copy under another label."""

    MISLABELLED = "mislabelled"
    UNREADABLE = "unreadable"
    TINY = "tiny"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near duplicate"
    CONTRADICTION = "contradiction"


@dataclass(frozen=True)
class Finding:
    """A photo and what may be wrong with it.

    Attributes:
        path: The photo.
        problem: What.
        given: The class it lies under.
        suggested: The class it may be of, for a wrong label.
        score: Mislabelled: out-of-fold probability of the given label, 0 to 1. Copies: bits in
            which the hashes differ. Otherwise 0.
        note: For people, for example which photo it is a copy of.
        exclude: Whether to train without it is advised.
        original: Copies: the photo that is kept. Contradictions: the other one.
    """

    path: Path
    problem: Problem
    given: str
    suggested: str = ""
    score: float = 0.0
    note: str = ""
    exclude: bool = True
    original: Path | None = None
