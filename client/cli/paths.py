"""From the arguments of ``classify`` to images: files, directories, standard input.

Nothing is collected before it is used: a directory of a million photographs starts at once.
"""

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from client.errors import ImageFileError
from client.images import ImageSource, stream_bytes, unreadable

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
STDIN = "-"

NamedImage = tuple[str, ImageSource]


def named_images(paths: Iterable[str]) -> Iterator[NamedImage]:
    """Yield each image with the name to show for it.

    A file that is named is always taken. Of a directory those with the suffix of an image
    are, sorted, subdirectories included; symbolic links to directories are not followed,
    so that a loop of links ends. What cannot be read is yielded too, and raises
    ImageFileError when its bytes are asked for.
    """
    stdin = cache(_stdin_bytes)
    for path in paths:
        if path == STDIN:
            yield path, stdin
        elif _is_directory(path):
            yield from _directory(path)
        else:
            yield path, path


def _directory(root: str) -> Iterator[NamedImage]:
    empty = True
    for named_image in _walk(root):
        empty = False
        yield named_image
    if empty:
        suffixes = ", ".join(IMAGE_SUFFIXES)
        message = f"the directory holds no image ({suffixes})"
        yield root, _failing(ImageFileError(message, code="NOT_FOUND", reason="NO_IMAGES"))


def _walk(root: str) -> Iterator[NamedImage]:
    """Walk depth first, with a stack of its own: no depth is too deep."""
    stack = [iter([root])]
    while stack:
        path = next(stack[-1], None)
        if path is None:
            stack.pop()
        elif path is root or _is_real_directory(path):
            try:
                stack.append(iter(sorted(str(child) for child in Path(path).iterdir())))
            except OSError as error:
                yield path, _failing(unreadable(path, error))
        elif path.lower().endswith(IMAGE_SUFFIXES) and _may_be_image(path):
            yield path, path


def _is_directory(path: str) -> bool:
    try:
        return path != "" and Path(path).is_dir()
    except OSError:  # the reader of the file will say what is wrong
        return False


def _is_real_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _may_be_image(path: str) -> bool:
    """Tell whether to try a path: not a directory behind a link, nor a pipe that would block.
    A broken link is tried, so that it is reported."""
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return True


def _stdin_bytes() -> bytes:
    if sys.stdin is None or sys.stdin.closed:
        raise ImageFileError("standard input is closed", reason="FILE_UNREADABLE")
    if sys.stdin.isatty():
        raise ImageFileError(
            "standard input is a terminal; pipe an image into it", reason="FILE_UNREADABLE"
        )
    return stream_bytes(sys.stdin.buffer, STDIN)


def _failing(error: ImageFileError) -> Callable[[], bytes]:
    def image() -> bytes:
        raise error

    return image
