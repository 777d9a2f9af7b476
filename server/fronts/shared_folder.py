"""The folder of one server's processes: the engine's socket and the fronts' slots.

Each process holds a lock on a file in it for as long as it lives, and the kernel lets go of the
lock when it dies, however that happens. A folder that nobody holds was left behind by processes
that were killed: the next server to start removes it.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
_PREFIX = "menagerie-"
_LOCK = "lock"


def place() -> Path:
    """Where such folders are: in memory, where there is such a file system."""
    return _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else Path(tempfile.gettempdir())


@contextmanager
def shared_folder(root: Path) -> Iterator[Path]:
    """A private folder under ``root``, held and then removed; those left behind go first."""
    sweep(root)
    folder, descriptor = _made(root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def hold(folder: Path) -> int:
    """Hold a folder until the process ends or the descriptor is closed; returns that.

    Raises:
        OSError: It is gone.
    """
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def sweep(root: Path) -> None:
    """Remove this user's folders under ``root`` that no process holds."""
    for folder in root.glob(f"{_PREFIX}*"):
        # Others' folders, and those whose owner is just removing them, are not ours to open.
        with suppress(OSError):
            if _remove_if_left(folder):
                fields = {"folder": folder.name}
                log.info("removed what a killed server left behind", extra={"fields": fields})


def _made(root: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        os.close(os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with suppress(OSError):  # a server that starts now may have taken it for left behind
            descriptor = hold(folder)
            if (folder / _LOCK).exists():
                return folder, descriptor
            os.close(descriptor)


def _remove_if_left(folder: Path) -> bool:
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        return False
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    finally:
        os.close(descriptor)
    return True
