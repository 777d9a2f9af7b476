"""Read files that somebody replaces while the server runs."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
_Stamp = tuple[tuple[int, int, int] | None, ...]


class Reread(Generic[T]):
    """What some files say, read again when one of them has changed.

    Files that are missing or malformed later on change nothing: the last good state stays and
    the log says why. Links are followed, since that is how Kubernetes swaps Secrets.

    Args:
        paths: The files.
        read: Makes the state of their contents, in order.

    Raises:
        OSError: A file cannot be read.
        ValueError: ``read`` refuses what the files say.
    """

    def __init__(self, paths: tuple[Path, ...], read: Callable[..., T]) -> None:
        self._paths = paths
        self._read = read
        self._stamp = self._look()
        self._state = self._load()

    def get(self) -> T:
        """The state now."""
        self.changed()
        return self._state

    def changed(self) -> T | None:
        """The new state where there is one since the last look; None otherwise."""
        stamp = self._look()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        names = ", ".join(map(str, self._paths))
        try:
            self._state = self._load()
        except (OSError, ValueError) as error:
            # Not the text of what was read: it may be a key.
            log.error("%s cannot be read anew and stays as it was: %s", names, error)  # noqa: TRY400
            return None
        log.info("%s was read anew", names)
        return self._state

    def _look(self) -> _Stamp:
        return tuple(map(_stamp, self._paths))

    def _load(self) -> T:
        return self._read(*(path.read_bytes() for path in self._paths))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
