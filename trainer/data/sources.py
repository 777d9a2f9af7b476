"""From what ``--data`` says to a folder of photos: a folder, an archive, or a download."""

import hashlib
import os
import shutil
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from urllib.error import URLError

from torchvision.datasets.utils import download_url

from trainer.errors import DataError
from trainer.recipe import DataSpec

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_MAX_UNPACKED_BYTES = 64 * 2**30


@dataclass(frozen=True)
class _Download:
    """A public data set: archives to unpack into one folder.

    Attributes:
        owner: Who offers it, for people.
        files: URL and MD5 (None where the owner gives none) of each archive.
    """

    owner: str
    files: tuple[tuple[str, str | None], ...]


_DOWNLOADS = {
    # https://developers.google.com/machine-learning/practica/image-classification
    "cats-and-dogs-filtered": _Download(
        "Google's machine learning course",
        (("https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip", None),),
    ),
    # https://www.robots.ox.ac.uk/~vgg/data/pets/; digests as in torchvision.datasets.OxfordIIITPet
    "oxford-iiit-pet": _Download(
        "the Visual Geometry Group, Oxford",
        (
            (
                "https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
                "5c4f3ee8e5d25df40f4fd59a7f44e54c",
            ),
            (
                "https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz",
                "95a8c909bbe2e81eed6a22bccdf3f68f",
            ),
        ),
    ),
}


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
        return _descend(_downloaded(spec.dataset, cache), spec)
    if reference.is_dir():
        return _descend(reference, spec)
    if not reference.exists():
        raise DataError(f"--data {reference} does not exist")
    if not reference.name.lower().endswith(_ARCHIVES):
        raise DataError(f"--data {reference} is neither a folder nor {', '.join(_ARCHIVES)}")
    return _descend(_unpacked(reference, cache), spec)


def _descend(root: Path, spec: DataSpec) -> Path:
    """Skip folders that hold nothing but the next one, as archives often have them."""
    while not _fits(root, spec):
        entries = [
            entry for entry in root.iterdir() if not entry.name.startswith((".", "__MACOSX"))
        ]
        if len(entries) != 1 or not entries[0].is_dir():
            break
        root = entries[0]
    return root


def _fits(root: Path, spec: DataSpec) -> bool:
    if spec.layout == "oxford-iiit-pet":
        return (root / "annotations").is_dir()
    if spec.train == (".",):
        return sum(entry.is_dir() for entry in root.iterdir()) > 1
    return all((root / folder).is_dir() for folder in spec.train)


def _unpacked(archive: Path, cache: Path) -> Path:
    """The archive's content, unpacked once: whole or not at all."""
    status = archive.stat()
    facts = f"{archive.resolve()} {status.st_size} {status.st_mtime_ns}"
    target = cache / f"unpacked-{hashlib.sha256(facts.encode()).hexdigest()[:32]}"
    if not target.is_dir():
        try:
            _unpack_beside(archive, target)
        except OSError as error:
            raise DataError(
                f"{archive} cannot be unpacked into {cache}: {error.strerror}"
            ) from error
    return target


def _unpack_beside(archive: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(mkdtemp(prefix=f"{target.name}.", suffix=".part", dir=target.parent))
    try:
        _unpack(archive, part)
        part.rename(target)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise DataError(f"{archive} is damaged, or no archive: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unpack(archive: Path, folder: Path) -> None:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as file:
            _bound(archive, sum(member.file_size for member in file.infolist()))
            # Drops drive letters, leading slashes and ".." itself.
            file.extractall(folder)  # noqa: S202
        return
    with tarfile.open(archive) as file:
        _bound(archive, sum(member.size for member in file))
        # PEP 706: refuses paths and links that lead outside, and devices.
        file.extractall(folder, filter="data")


def _bound(archive: Path, unpacked_bytes: int) -> None:
    if unpacked_bytes > _MAX_UNPACKED_BYTES:
        raise DataError(
            f"{archive} unpacks to {unpacked_bytes / 2**30:.0f} GiB;"
            f" the limit is {_MAX_UNPACKED_BYTES // 2**30} GiB"
        )


def _downloaded(dataset: str | None, cache: Path) -> Path:
    if dataset is None:
        raise DataError("the recipe names no public data set: give --data FOLDER or an archive")
    if dataset == "animals10":
        raise DataError(
            "Animals-10 needs a Kaggle account: fetch archive.zip from https://www.kaggle.com/"
            "datasets/alessiocorrado99/animals10 and give --data archive.zip"
        )
    source = _DOWNLOADS[dataset]
    target = cache / dataset
    if target.is_dir():
        return target
    archives = [_fetch(url, md5, dataset, source, cache / "downloads") for url, md5 in source.files]
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    for archive in archives:
        shutil.copytree(_unpacked(archive, cache), part, dirs_exist_ok=True)
    part.rename(target)
    return target


def _fetch(url: str, md5: str | None, dataset: str, source: _Download, folder: Path) -> Path:
    try:
        download_url(url, folder, md5=md5)
    except (URLError, OSError, RuntimeError) as error:
        urls = " and ".join(url for url, _ in source.files)
        raise DataError(
            f"{dataset} cannot be downloaded ({error}). Fetch {urls} from {source.owner},"
            " unpack into one folder and give --data FOLDER"
        ) from error
    return folder / url.rpartition("/")[2]
