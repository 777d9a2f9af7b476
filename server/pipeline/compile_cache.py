"""Compiled libraries on disk, and other files, so that the next start need not make them.

They are native code. The folder must be this user's, and no part of its path may be writable
by others; each library's digest is checked before it is used. An entry gets its name once it
is whole, so that several servers may share the folder.
"""

import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from models.errors import IntegrityError
from models.files import read_regular

_INDEX = "digests.json"
_STAGING = ".staging-"
_UNUSED_S = 90 * 86_400.0  # an entry that nobody has used for so long is of another time
_ABANDONED_S = 86_400.0  # a staging folder that old belongs to a server that was killed
_MAX_INDEX_BYTES = 2**16
_MAX_LIBRARY_BYTES = 4 * 2**30
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class CacheError(Exception):
    """The folder cannot be used; the message says why."""


class DamagedEntryError(Exception):
    """An entry is not what was written."""


def default_cache_folder(name: str = "compiled") -> Path:
    """In the user's cache folder, or for one without a home in the temporary folder."""
    home = os.path.expanduser("~/.cache")  # noqa: PTH111 - pathlib raises where there is no home
    if home.startswith("~"):
        return Path(tempfile.gettempdir()) / f"menagerie-{os.geteuid()}" / name
    return Path(os.environ.get("XDG_CACHE_HOME") or home) / "menagerie" / name


class CompileCache:
    """Entries of libraries by key.

    Args:
        folder: Is made where it does not exist.
        checked: Whether it must be this user's alone. A container's volume is writable by every
            user, and the container has but one.
    """

    def __init__(self, folder: Path, *, checked: bool = True) -> None:
        self._folder = folder
        self._checked = checked

    def find(self, key: str) -> dict[str, Path] | None:
        """The verified libraries of an entry, by file name; None where there is no entry.

        Raises:
            CacheError: The folder is not safe or cannot be used.
            DamagedEntryError: A file is missing or altered. The entry has been removed.
        """
        self._check()
        entry = self._folder / key
        if not entry.is_dir():
            return None
        try:
            libraries = _verified(entry)
            os.utime(entry)
        except OSError as error:
            raise CacheError(f"{self._folder}: {error.strerror}") from error
        except (IntegrityError, ValueError) as error:
            shutil.rmtree(entry, ignore_errors=True)
            raise DamagedEntryError(str(error)) from error
        return libraries

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder for the files of one compilation, gone after the block.

        Raises:
            CacheError: The folder is not safe or cannot be used.
        """
        self._check()
        try:
            folder = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self._folder))
        except OSError as error:
            raise CacheError(f"{self._folder}: {error.strerror}") from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(
        self, key: str, libraries: Mapping[str, Path], *, replace: bool = False
    ) -> dict[str, Path]:
        """Make an entry of ``libraries``, by file name, moving them; returns where they are.

        What nobody has used for 90 days goes.

        Args:
            key: Of the entry.
            libraries: Files by name.
            replace: Whether to do so where there is such an entry already. Who reads it at that
                moment finds none, or one that is damaged.

        Raises:
            CacheError: The disk is full, or the folder cannot be used.
            DamagedEntryError: Another server was first, with an entry that is damaged.
        """
        try:
            with self.staging() as staged:
                whole = staged / "entry"
                whole.mkdir(mode=0o700)
                digests = {name: _move(path, whole / name) for name, path in libraries.items()}
                _write_durably(whole / _INDEX, json.dumps(digests).encode())
                entry = self._folder / key
                if replace and entry.exists():
                    entry.rename(staged / "old")
                if not entry.exists():
                    whole.rename(entry)
                _remove_old(self._folder)
            return _verified(entry)
        except OSError as error:
            raise CacheError(f"{self._folder}: {error.strerror}") from error
        except (IntegrityError, ValueError) as error:
            raise DamagedEntryError(str(error)) from error

    def _check(self) -> None:
        make_private_folder(self._folder, checked=self._checked)


def make_private_folder(folder: Path, *, checked: bool = True) -> None:
    """Make a folder for what will be executed.

    Raises:
        CacheError: It cannot be used or, where that is ``checked``, is not this user's alone.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        real = folder.resolve(strict=True)
        statuses = {each: each.stat() for each in (real, *real.parents)}
    except OSError as error:
        raise CacheError(f"{folder}: {error.strerror}") from error
    if not checked:
        return
    for each, status in statuses.items():
        # Who can write a folder can replace what is in it, unless it is sticky.
        loose = status.st_mode & _OTHERS_WRITE and not status.st_mode & stat.S_ISVTX
        if loose or status.st_uid not in (os.geteuid(), 0):
            raise CacheError(f"{each} can be written by others")
    if statuses[real].st_uid != os.geteuid() or statuses[real].st_mode & _OTHERS_WRITE:
        raise CacheError(f"{real} is not this user's alone")


def _remove_old(folder: Path) -> None:
    now = time.time()
    for entry in folder.iterdir():
        longest_s = _ABANDONED_S if entry.name.startswith(_STAGING) else _UNUSED_S
        with suppress(FileNotFoundError):  # another server's, which has just gone
            if now - entry.stat().st_mtime > longest_s:
                shutil.rmtree(entry, ignore_errors=True)


def _verified(entry: Path) -> dict[str, Path]:
    digests = json.loads(read_regular(entry / _INDEX, _MAX_INDEX_BYTES))
    if not isinstance(digests, dict):
        raise IntegrityError(f"{_INDEX} does not hold digests")
    for name, digest in digests.items():
        content = read_regular(entry / Path(name).name, _MAX_LIBRARY_BYTES)
        if hashlib.sha256(content).hexdigest() != digest:
            raise IntegrityError(f"{name} differs from its SHA-256 digest")
    return {name: entry / Path(name).name for name in digests}


def _move(source: Path, target: Path) -> str:
    """To ``target``, on the disk for good; gives the digest."""
    content = source.read_bytes()
    _write_durably(target, content)
    source.unlink()
    return hashlib.sha256(content).hexdigest()


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
