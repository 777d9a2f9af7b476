"""Photos that stand on both sides of the split: what is learned by heart is not tested."""

from dataclasses import dataclass
from pathlib import Path

from trainer.audit.duplicates import duplicates, locate
from trainer.data import read_training
from trainer.score import ScoredRun


@dataclass(frozen=True)
class Copy:
    """A photo that repeats one of another part of the split.

    Attributes:
        name: Its path, relative to the data folder.
        part: "train" or "validation".
        original: The path of the one it repeats.
        original_part: "validation" or "test".
        bits: In how many of 64 bits their perceptual hashes differ.
    """

    name: str
    part: str
    original: str
    original_part: str
    bits: int


def copies_across_split(scored: ScoredRun, cache: Path | None) -> list[Copy]:
    """Exact and near copies between training, validation and test photos.

    Raises:
        DataError: The photos cannot be read.
    """
    photos, side = scored.photos, scored.recipe.data.cache_side
    located = [
        item
        # In two parts: training has the pack of the first already.
        for group in (photos.train, (*photos.validation, *photos.test))
        for item in locate(scored.root, photos, read_training(group, side, cache))
    ]
    places = {item.photo.path: item for item in located}
    pairs = {
        (finding.path, finding.original): int(finding.score)
        for finding in duplicates(located, photos.classes)
        if finding.original is not None
    }
    return [
        Copy(places[copy].name, places[copy].part, places[first].name, places[first].part, bits)
        for (copy, first), bits in pairs.items()
        if _RANK[places[copy].part] < _RANK[places[first].part]
    ]


# A contradiction is found from both sides; here the photo of the earlier part is the copy.
_RANK = {"train": 0, "validation": 1, "test": 2}
