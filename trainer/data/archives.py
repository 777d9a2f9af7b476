"""Archives of photos, unpacked once: whole or not at all."""

import gzip
import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, cast

from trainer.beside import folder_beside
from trainer.errors import DataError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")

_MAX_UNPACKED_BYTES = 64 * 2**30
# RuntimeError: encrypted, or packed by a method that zipfile does not know.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    RuntimeError,
    ValueError,
)


def unpacked(archive: Path, cache: Path) -> Path:
    """The folder in ``cache`` that holds the archive's content.

    Raises:
        DataError: The archive is damaged, hostile or too large, or the disk is full.
    """
    status = archive.stat()
    facts = f"{archive.resolve()} {status.st_size} {status.st_mtime_ns}"
    target = cache / f"unpacked-{hashlib.sha256(facts.encode()).hexdigest()[:32]}"
    unpack([archive], target)
    return target


def unpack(archives: Iterable[Path], target: Path) -> None:
    """Unpack ``archives`` into one folder, unless it is there already.

    Raises:
        DataError: As for `unpacked`.
    """
    if target.is_dir():
        return
    try:
        with folder_beside(target) as part:
            for archive in archives:
                _extract(archive, part)
    except OSError as error:
        raise DataError(f"{target} cannot be unpacked: {error.strerror}") from error


def _extract(archive: Path, folder: Path) -> None:
    try:
        if archive.name.lower().endswith(".zip"):
            _extract_zip(archive, folder)
        else:
            _extract_tar(archive, folder)
    except _DAMAGE as error:
        raise DataError(f"{archive} is damaged, or no archive: {error}") from error


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        _bound(archive, (member.file_size for member in file.infolist()))
        # Drops drive letters, leading slashes and ".." itself.
        file.extractall(folder)  # noqa: S202


def _extract_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as file:
        _bound(archive, (member.size for member in file))
        _refuse_cut_off(file)
        # PEP 706: refuses paths and links that lead outside, and devices.
        file.extractall(folder, filter="data")


def _refuse_cut_off(file: tarfile.TarFile) -> None:
    """tarfile takes an archive cut off between two members, or inside a header, for a whole one.

    A whole one ends with blocks of zeros (POSIX.1-2001, ustar interchange format).
    """
    stream = cast(IO[bytes], file.fileobj)
    stream.seek(file.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it is cut off")


def _bound(archive: Path, sizes: Iterable[int]) -> None:
    """Refuse too much, as soon as it is too much."""
    unpacked_bytes = 0
    for size in sizes:
        unpacked_bytes += size
        if unpacked_bytes > _MAX_UNPACKED_BYTES:
            raise DataError(
                f"{archive} unpacks to more than the limit of {_MAX_UNPACKED_BYTES // 2**30} GiB"
            )
