"""The journal of an export: one JSON object a line, so that a killed run can go on.

A line is written as soon as its photo is answered, in the order of the photos. A run that was
killed leaves at most one torn line, which the next run cuts off. What is done is remembered by
eight bytes of a hash for each path.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from client.cli.json_lines import Json


class JournalError(Exception):
    """The journal belongs to another run, or is no journal."""


class Journal:
    """An open journal. A context manager.

    Attributes:
        done: How many photos an earlier run did.
        failures: Path and reason of those among them that failed.
    """

    def __init__(self, path: Path, settings: dict[str, Json]) -> None:
        """Open or begin the journal at `path`.

        Args:
            path: The file.
            settings: What must be the same for a run to go on: the model asked, and so on.

        Raises:
            JournalError: The file was begun with other settings, or is no journal.
            OSError: It cannot be read or written.
        """
        self._seen: set[bytes] = set()
        self.failures: list[tuple[str, str]] = []
        header = json.dumps({"journal": 1, **settings}, sort_keys=True)
        if path.exists() and path.stat().st_size:
            self._file = path.open("r+b")
            self._take_up(header)
        else:
            self._file = path.open("w+b")
            self._write(header)
        self.done = len(self._seen)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def __contains__(self, path: str) -> bool:
        return _digest(path) in self._seen

    def add(self, entry: dict[str, Json]) -> None:
        """Write the entry of a photo; it has a ``path``. A kill does not lose it."""
        self._write(json.dumps(entry, allow_nan=False))

    def _write(self, line: str) -> None:
        self._file.write(line.encode("ascii") + b"\n")
        self._file.flush()

    def _take_up(self, header: str) -> None:
        first = self._file.readline()
        if first.rstrip(b"\n") != header.encode("ascii"):
            self._file.close()
            raise JournalError("it was begun with other options, or is no journal")
        end = self._file.tell()
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            self._seen.add(_digest(entry["path"]))
            if "error" in entry:
                self.failures.append((entry["path"], entry["error"]["message"]))
            end += len(line)
        self._file.seek(end)
        self._file.truncate()


def entries(journal: Path) -> Iterator[dict[str, Json]]:
    """Yield the entries of a complete journal, one at a time."""
    with journal.open("rb") as file:
        file.readline()
        for line in file:
            yield json.loads(line)


def without_header(journal: Path, output: IO[bytes]) -> None:
    """Copy the lines of the entries."""
    with journal.open("rb") as file:
        file.readline()
        for line in file:
            output.write(line)


def _digest(path: str) -> bytes:
    return hashlib.blake2b(path.encode("utf-8", "backslashreplace"), digest_size=8).digest()
