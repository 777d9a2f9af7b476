"""From what ``--data`` says to a folder of photos: a folder, an archive, or a download."""

import os
from pathlib import Path

from trainer.data.archives import ARCHIVE_SUFFIXES, unpacked
from trainer.data.downloads import downloaded
from trainer.errors import DataError
from trainer.recipe import DataSpec


def default_cache() -> Path:
    """Where downloads, unpacked archives and decoded photos are kept.

    ``$MENAGERIE_CACHE``, else ``$XDG_CACHE_HOME/menagerie``, else ``~/.cache/menagerie``
    (https://specifications.freedesktop.org/basedir-spec/latest/).
    """
    own = os.environ.get("MENAGERIE_CACHE")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "menagerie"


def resolve_data(reference: Path | None, spec: DataSpec, cache: Path) -> Path:
    """The folder that holds what ``spec`` names.

    Args:
        reference: A folder or an archive; the recipe's public data set where it is not given.
        spec: The recipe's section.
        cache: Where archives are unpacked and downloads kept.

    Raises:
        DataError: There is no such thing, the archive is damaged or hostile, or a download
            failed: the message says what to fetch from whom.
    """
    if reference is None:
        return _descend(downloaded(spec.dataset, cache), spec)
    if reference.is_dir():
        return _descend(reference, spec)
    if not reference.exists():
        raise DataError(f"--data {reference} does not exist")
    if not reference.name.lower().endswith(ARCHIVE_SUFFIXES):
        raise DataError(f"--data {reference} is neither a folder nor {', '.join(ARCHIVE_SUFFIXES)}")
    return _descend(unpacked(reference, cache), spec)


def _descend(root: Path, spec: DataSpec) -> Path:
    """Skip folders that hold one folder of folders and perhaps a stray file, as archives do."""
    while not _fits(root, spec):
        folders = _folders(root)
        if len(folders) != 1 or not _folders(folders[0]):
            break
        root = folders[0]
    return root


def _fits(root: Path, spec: DataSpec) -> bool:
    if spec.layout == "oxford-iiit-pet":
        return (root / "annotations").is_dir()
    if spec.train == (".",):
        return len(_folders(root)) > 1
    return all((root / folder).is_dir() for folder in spec.train)


def _folders(root: Path) -> list[Path]:
    return [
        entry
        for entry in root.iterdir()
        if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))
    ]
