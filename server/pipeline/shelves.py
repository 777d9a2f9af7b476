"""Where captured photos lie: a folder, or a place in an object store."""

from pathlib import Path
from typing import Protocol


class Shelf(Protocol):
    """Files by name, each written as a whole."""

    def sizes(self) -> dict[str, int]:
        """What lies there, in bytes by name.

        Raises:
            OSError: It cannot be read.
            StoreError: Likewise.
        """
        ...

    def put(self, name: str, content: bytes) -> None:
        """Write a file, in the place of one of that name.

        Raises:
            OSError: It cannot be written.
            StoreError: Likewise.
        """
        ...


class Folder:
    """A folder; made if it is missing.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(0o700, parents=True, exist_ok=True)  # photos of people

    def sizes(self) -> dict[str, int]:
        """See Shelf."""
        return {path.name: path.stat().st_size for path in self._path.iterdir()}

    def put(self, name: str, content: bytes) -> None:
        """Write beside and rename: a reader never sees half."""
        beside = self._path / f".{name}.part"
        beside.write_bytes(content)
        beside.replace(self._path / name)


def shelf_at(place: Path | str) -> Shelf:
    """The shelf in a folder, or at the URL of a store.

    Raises:
        OSError: The folder cannot be made.
        StoreError: There is no such kind of store, or nothing to authenticate with.
        ImportError: A store needs the extra "stores", which is not installed.
    """
    if not isinstance(place, str):
        return Folder(place)
    from server.pipeline.bucket import Bucket  # noqa: PLC0415 - needs an extra

    return Bucket(place)
