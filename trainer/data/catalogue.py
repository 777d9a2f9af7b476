"""Which photos there are, of which class, and in which part of the split.

Nothing is opened here but annotation files.
"""

import csv
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.data.layouts import Labelled, class_folder_photos, pet_photos
from trainer.errors import DataError
from trainer.recipe import DataSpec, LabelSpec, Recipe

_TEST_SEED = "test"  # the test photos of a random split are the same in every run


@dataclass(frozen=True)
class Photo:
    """A photo on disk and the index of its class."""

    path: Path
    label: int


@dataclass(frozen=True)
class Catalogue:
    """The photos of a data set before they are read.

    Attributes:
        classes: Ids, sorted; their positions are the labels. A folder without an id is its own.
        train: Photos to train on.
        validation: Held out from training, for choices and calibration.
        test: Scored at the end.
    """

    classes: tuple[str, ...]
    train: tuple[Photo, ...]
    validation: tuple[Photo, ...]
    test: tuple[Photo, ...]


def catalogue(
    root: Path,
    spec: DataSpec,
    seed: int,
    *,
    labels: Mapping[str, LabelSpec] | None = None,
    exclude: Path | None = None,
) -> Catalogue:
    """Find the photos below ``root`` and split them, per class.

    Args:
        root: The data folder.
        spec: The recipe's section.
        seed: Chooses the validation photos; a random test split is the same for every seed.
        labels: Class folders' ids; folders with the same id are one class.
        exclude: CSV file whose column ``path`` names photos to leave out of training and
            validation, relative to ``root`` or absolute.

    Raises:
        DataError: A folder is missing, there are fewer than two classes, or one is empty.
    """
    learned, test = _found(root, spec, labels or {})
    classes = _classes(root, spec, learned, labels or {})
    photos = _numbered(learned, classes)
    tested = _numbered(test, classes)
    if spec.test_fraction > 0:
        photos, tested = _split([*photos, *tested], spec.test_fraction, _TEST_SEED, classes)
    left_out = _excluded(root, exclude, [*photos, *tested])
    photos = [photo for photo in photos if photo.path.resolve() not in left_out]
    train, validation = _split(photos, spec.validation_fraction, str(seed), classes)
    _refuse_empty(classes, {"training": train, "validation": validation, "test": tested})
    return Catalogue(classes, tuple(train), tuple(validation), tuple(tested))


def split_of(recipe: Recipe, root: Path, exclude: Path | None = None) -> Catalogue:
    """Find and split the photos of a recipe, as every command has them.

    Args:
        recipe: Names them; its seed chooses the validation photos.
        root: The data folder.
        exclude: As for `catalogue`.

    Raises:
        DataError: As for `catalogue`.
    """
    return catalogue(root, recipe.data, recipe.fit.seed, labels=recipe.labels, exclude=exclude)


def _found(
    root: Path, spec: DataSpec, labels: Mapping[str, LabelSpec]
) -> tuple[list[Labelled], list[Labelled]]:
    if spec.layout == "oxford-iiit-pet":
        return pet_photos(root)
    listed = frozenset(labels) if spec.only_listed else None
    ids = {folder: label.id for folder, label in labels.items()}
    learned = class_folder_photos(root, spec.train, ids, listed)
    return learned, class_folder_photos(root, spec.test, ids, listed)


def _classes(
    root: Path, spec: DataSpec, photos: Sequence[Labelled], labels: Mapping[str, LabelSpec]
) -> tuple[str, ...]:
    classes = tuple(sorted({name for _, name in photos}))
    if len(classes) < 2:  # noqa: PLR2004 - one class needs no classifier
        taken = f"; the recipe takes the folders {', '.join(labels)}" if spec.only_listed else ""
        raise DataError(
            f"{root} has {len(classes)} class(es) to train on ({', '.join(classes) or 'none'});"
            f" two are needed{taken}"
        )
    return classes


def _numbered(photos: Iterable[Labelled], classes: Sequence[str]) -> list[Photo]:
    index = {name: position for position, name in enumerate(classes)}
    unknown = sorted({name for _, name in photos if name not in index})
    if unknown:
        raise DataError(f"class {unknown[0]!r} has test photos and none to train on")
    # By class, then by path: the split must not depend on the order of folders.
    return sorted(
        (Photo(path, index[name]) for path, name in photos),
        key=lambda photo: (photo.label, photo.path),
    )


def _split(
    photos: Sequence[Photo], fraction: float, seed: str, classes: Sequence[str]
) -> tuple[list[Photo], list[Photo]]:
    """The larger part and the share that is held out, each class in proportion."""
    by_label: dict[int, list[Photo]] = defaultdict(list)
    for photo in photos:
        by_label[photo.label].append(photo)
    kept: list[Photo] = []
    held_out: list[Photo] = []
    for label in sorted(by_label):
        group = by_label[label]
        random.Random(f"{seed}-{label}").shuffle(group)
        count = max(1, round(len(group) * fraction))
        if count >= len(group):
            raise DataError(
                f"class {classes[label]!r} has too few photos to hold any out: {len(group)}"
            )
        held_out += group[:count]
        kept += group[count:]
    return kept, held_out


def _refuse_empty(classes: Sequence[str], parts: Mapping[str, Sequence[Photo]]) -> None:
    for part, photos in parts.items():
        present = {photo.label for photo in photos}
        for label, name in enumerate(classes):
            if label not in present:
                raise DataError(f"class {name!r} has no {part} photo")


def _excluded(root: Path, listing: Path | None, photos: Sequence[Photo]) -> frozenset[Path]:
    """The resolved paths that a CSV file lists."""
    if listing is None:
        return frozenset()
    names = _listed(listing)
    known = {photo.path.resolve() for photo in photos}
    paths = [(root / name).resolve() for name in names]
    for name, path in zip(names, paths, strict=True):
        # A photo that cannot be read is found as a path all the same.
        if path not in known:
            raise DataError(f"{listing} names {name!r}, which is no photo of {root}")
    return frozenset(paths)


def _listed(listing: Path) -> list[str]:
    try:
        # With the mark that spreadsheets put first; file names need not be UTF-8.
        with listing.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = csv.DictReader(file)
            if "path" not in (rows.fieldnames or ()):
                raise DataError(f"{listing} is no CSV file with a column 'path'")
            return [row["path"] for row in rows if row["path"]]
    except (OSError, csv.Error) as error:
        raise DataError(f"{listing} cannot be read as CSV: {error}") from error
