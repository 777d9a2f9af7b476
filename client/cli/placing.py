"""Puts photos into label folders and takes them back. Every step is in the undo file first."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from client.cli.text import encodable

How = Literal["copy", "link", "hardlink", "move"]

# Names that some file system refuses, or that would leave the folder.
_UNFIT = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]|^\.+|[. ]+$')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Step:
    """One photo's way: from `source` to `target`, both as they are on the disk."""

    source: Path
    target: Path
    how: How


def folder_name(label: str) -> str:
    """Return a label as the name of one folder, on any file system."""
    name = _UNFIT.sub("_", label) or "_"
    return f"{name}_" if _RESERVED.match(name) else name


def free_target(folder: Path, name: str) -> Path:
    """Return a path in `folder` that does not exist: `name`, or with a number before its end."""
    target = folder / name
    number = 2
    while os.path.lexists(target):
        target = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
        number += 1
    return target


def place(step: Step, undo: IO[str]) -> None:
    """Do a step, after having written down how to undo it.

    Raises:
        OSError: It cannot be done; nothing is overwritten.
    """
    step.target.parent.mkdir(parents=True, exist_ok=True)
    line = {"how": step.how, "source": os.fspath(step.source), "target": os.fspath(step.target)}
    undo.write(json.dumps(line) + "\n")
    undo.flush()
    source = step.source.absolute()
    match step.how:
        case "copy":
            shutil.copy2(source, step.target)
        case "link":
            step.target.symlink_to(source)
        case "hardlink":
            step.target.hardlink_to(source)
        case "move":
            shutil.move(source, step.target)


def undo_all(undo: Path) -> Iterator[tuple[Step, str]]:
    """Take the steps of an undo file back, the last one first; yield each with why it could not
    be, or an empty text. What was changed since is left alone.

    Raises:
        ValueError: It is no undo file.
        OSError: It cannot be read.
    """
    lines = undo.read_text(encoding="ascii").splitlines()
    steps = [_step(line) for line in lines]
    for step in reversed(steps):
        try:
            yield step, _undo(step)
        except OSError as error:
            yield step, (error.strerror or str(error)).lower()
    for folder in sorted({step.target.parent for step in steps}, reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _step(line: str) -> Step:
    try:
        found = json.loads(line)
        return Step(Path(found["source"]), Path(found["target"]), found["how"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a line of an undo file: {encodable(line[:80])}") from error


def _undo(step: Step) -> str:
    if not os.path.lexists(step.target):
        return ""  # it was written down and then interrupted, or removed by hand
    if step.how == "move":
        if os.path.lexists(step.source):
            return "its old place is taken"
        step.source.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(step.target, step.source)
        return ""
    if step.how == "copy" and not _same(step.source, step.target):
        return "it was changed since, or the original is gone"
    if step.how == "link" and not step.target.is_symlink():
        return "it is no link any more"
    step.target.unlink()
    return ""


def _same(source: Path, target: Path) -> bool:
    """Tell whether a copy is still what was copied; an original that is gone has no other."""
    if not source.exists():
        return False
    first, second = source.stat(), target.stat()
    return first.st_size == second.st_size and first.st_mtime_ns == second.st_mtime_ns
