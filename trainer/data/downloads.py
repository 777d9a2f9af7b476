"""Public data sets, fetched from their owners."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from torchvision.datasets.utils import download_url

from trainer.data.archives import unpack
from trainer.errors import DataError


@dataclass(frozen=True)
class _File:
    """An archive that its owner offers.

    Attributes:
        url: Where.
        md5: Its digest; None where the owner gives none.
        size: In bytes; None where the digest says more.
    """

    url: str
    md5: str | None = None
    size: int | None = None

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class _DataSet:
    """Archives to unpack into one folder.

    Attributes:
        owner: Who offers them, for people.
        files: The archives.
    """

    owner: str
    files: tuple[_File, ...]


_DATA_SETS = {
    # https://developers.google.com/machine-learning/practica/image-classification
    "cats-and-dogs-filtered": _DataSet(
        "Google's machine learning course",
        (
            _File(
                "https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip",
                size=68_606_236,
            ),
        ),
    ),
    # https://www.robots.ox.ac.uk/~vgg/data/pets/; digests as in torchvision.datasets.OxfordIIITPet
    "oxford-iiit-pet": _DataSet(
        "the Visual Geometry Group, Oxford",
        (
            _File(
                "https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
                md5="5c4f3ee8e5d25df40f4fd59a7f44e54c",
            ),
            _File(
                "https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz",
                md5="95a8c909bbe2e81eed6a22bccdf3f68f",
            ),
        ),
    ),
}


def downloaded(dataset: str | None, cache: Path) -> Path:
    """The folder in ``cache`` that holds the public data set, fetched where it is not there.

    Raises:
        DataError: It cannot be had: the message says what to fetch from whom.
    """
    if dataset is None:
        raise DataError("the recipe names no public data set: give --data FOLDER or an archive")
    if dataset == "animals10":
        raise DataError(
            "Animals-10 needs a Kaggle account: fetch archive.zip from https://www.kaggle.com/"
            "datasets/alessiocorrado99/animals10 and give --data archive.zip"
        )
    target = cache / dataset
    if not target.is_dir():
        archives = [
            _fetch(file, dataset, cache / "downloads") for file in _DATA_SETS[dataset].files
        ]
        unpack(archives, target)
        for archive in archives:
            archive.unlink(missing_ok=True)
    return target


def _fetch(file: _File, dataset: str, folder: Path) -> Path:
    """The archive, whole: it gets its name once its digest or size is right."""
    target = folder / file.name
    part = folder / f"{file.name}.{os.getpid()}.part"
    try:
        if not target.is_file():
            download_url(file.url, folder, filename=part.name, md5=file.md5)
            _refuse_other_size(part, file.size)
            part.replace(target)
    except (URLError, OSError, RuntimeError) as error:
        source = _DATA_SETS[dataset]
        urls = " and ".join(file.url for file in source.files)
        raise DataError(
            f"{dataset} cannot be downloaded ({error}). Fetch {urls} from {source.owner},"
            " unpack into one folder and give --data FOLDER"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _refuse_other_size(path: Path, expected: int | None) -> None:
    size = path.stat().st_size
    if expected is not None and size != expected:
        raise RuntimeError(f"{size} bytes came instead of {expected}")
