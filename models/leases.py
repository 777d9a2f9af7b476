"""Who of several processes uses which version in a folder they share.

A lease is a shared lock on a file of its own, so it ends with its process, however that ends.
The file's time says when the version was last used.
"""

import fcntl
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

Key = tuple[str, int]


class Leases:
    """One process's leases. Not thread-safe.

    Args:
        folder: For the lock files; is made where it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._folder = folder
        self._held: dict[Key, int] = {}

    @property
    def held(self) -> set[Key]:
        """What this process uses."""
        return set(self._held)

    def hold(self, keys: Collection[Key]) -> None:
        """Hold a lease on each of ``keys``, marked as used now, and on nothing else.

        Waits for a version that is being removed at this moment.
        """
        for key in self._held.keys() - set(keys):
            os.close(self._held.pop(key))
        for key in keys:
            if key not in self._held:
                self._held[key] = self._open(key)
                fcntl.flock(self._held[key], fcntl.LOCK_SH)
            os.utime(self._held[key])

    def close(self) -> None:
        """Give all up."""
        self.hold(())

    def touch(self, key: Key) -> None:
        """Mark a version as used now."""
        descriptor = self._open(key)
        os.utime(descriptor)
        os.close(descriptor)

    def used_at(self, key: Key) -> float:
        """When it was last held, in seconds since the epoch; 0 where nobody ever did."""
        try:
            return self._path(key).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    @contextmanager
    def unused(self, key: Key) -> Iterator[bool]:
        """Whether nobody holds a lease, this process included; nobody gets one in the block."""
        descriptor = self._open(key)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    @contextmanager
    def alone(self, key: Key) -> Iterator[None]:
        """One process and one thread at a time, for fetching; others wait."""
        descriptor = self._open(key, ".fetch")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _open(self, key: Key, suffix: str = "") -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self._path(key, suffix), flags, mode=0o666)

    def _path(self, key: Key, suffix: str = "") -> Path:
        name, version = key
        return self._folder / f"{name}@{version}{suffix}"
