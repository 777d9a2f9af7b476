"""How data sets lie on disk: class folders, or Oxford-IIIT Pet's images and annotations."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from trainer.errors import DataError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"}
    # Other photos are found too, so that they are listed as unreadable and not passed over.
    | {".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2", ".jxl"}
)

Labelled = tuple[Path, str]
"""A photo and the id of its class."""


def class_photos(folder: Path) -> list[Path]:
    """The photos in the class folders of ``folder``, sorted."""
    return [path for entry in _class_folders(folder) for path in _photos(entry)]


def class_folder_photos(
    root: Path,
    folders: Sequence[str],
    ids: Mapping[str, str],
    listed: Collection[str] | None,
) -> list[Labelled]:
    """The photos of every class folder in ``folders`` below ``root``.

    Args:
        root: The data folder.
        folders: Folders of class folders, relative to it.
        ids: Class folder to class id; one that is not among them is its own id.
        listed: The class folders to take; all of them where it is not given.

    Raises:
        DataError: A folder is missing, or a class has no photo in any of them.
    """
    photos: list[Labelled] = []
    names: set[str] = set()
    for folder in folders:
        path = root / folder
        if not path.is_dir():
            raise DataError(f"{path} is missing: --data must hold {', '.join(folders)}")
        for entry in _class_folders(path):
            if listed is None or entry.name in listed:
                name = ids.get(entry.name, entry.name)
                names.add(name)
                photos += [(photo, name) for photo in _photos(entry)]
    empty = sorted(names - {name for _, name in photos})
    if empty:
        where = ", ".join(folders)
        raise DataError(f"class {empty[0]!r} has no photo in {where} below {root}")
    return photos


def pet_photos(root: Path) -> tuple[list[Labelled], list[Labelled]]:
    """Oxford-IIIT Pet's official training and test photos.

    ``images/NAME.jpg``, and ``annotations/{trainval,test}.txt`` with rows
    ``NAME class species breed``; the breed is NAME up to its last underscore
    (https://www.robots.ox.ac.uk/~vgg/data/pets/).

    Raises:
        DataError: A list or a photo is missing.
    """
    parts = []
    for part in ("trainval", "test"):
        listing = root / "annotations" / f"{part}.txt"
        try:
            rows = listing.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{listing} cannot be read: --data must hold images/ and annotations/"
            ) from error
        names = [row.split()[0] for row in rows if row.strip() and not row.startswith("#")]
        parts.append([(root / "images" / f"{name}.jpg", name.rpartition("_")[0]) for name in names])
    for path, _ in parts[0] + parts[1]:
        if not path.is_file():
            raise DataError(f"{path} is listed in annotations/ and missing")
    return parts[0], parts[1]


def _class_folders(folder: Path) -> list[Path]:
    return sorted(
        entry
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith((".", "__"))
    )


def _photos(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
