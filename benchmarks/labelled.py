"""Photos in folders named after a model's labels."""

from collections.abc import Sequence
from pathlib import Path

from models.manifest import Label

BATCH = 8


def labelled_photos(root: Path, labels: Sequence[Label]) -> list[tuple[Path, int]]:
    """Each photo with the number of its label, whose id or plural names its folder."""
    found = [
        (path, number)
        for number, label in enumerate(labels)
        for folder in (label.id, f"{label.id}s")
        for path in sorted((root / folder).glob("*.jp*g"))
    ]
    if not found:
        raise SystemExit(f"{root} has no folder of the model's labels")
    return found
