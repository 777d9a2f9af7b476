"""Files and folders that get their name when they are whole, and vanish when they are not."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import IO

_SUFFIX = ".part"
_STALE_S = 86_400.0  # of a run that was killed; no run writes one part for a day


@contextmanager
def file_beside(path: Path) -> Iterator[IO[bytes]]:
    """A file to write; on the disk, then renamed to ``path``, when the block ends well."""
    _sweep(path.parent)
    part = path.with_name(f"{path.name}.{os.getpid()}{_SUFFIX}")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A folder to fill, renamed to ``path`` when the block ends well.

    Where another process was first, its folder stays and this one goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    part = Path(mkdtemp(prefix=f"{path.name}.", suffix=_SUFFIX, dir=path.parent))
    try:
        yield part
        if not path.is_dir():
            part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what killed runs left behind."""
    oldest = time.time() - _STALE_S
    for part in folder.glob(f"*{_SUFFIX}"):
        try:
            stale = part.stat().st_mtime < oldest
        except OSError:  # its run has just finished
            continue
        if stale and part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        elif stale:
            part.unlink(missing_ok=True)
