"""Decoded photos in one file that the loader's workers and later runs share.

A pack is two files in the cache: the pixels, one photo after another, mapped into
memory, so that they take no more of it than there is; and an index. Its name says
which photos it holds, so a changed photo gets a new pack. The index is written last.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ImageError
from models.image_header import ImageLimits
from models.preprocess import decode
from trainer.data.catalogue import Photo
from trainer.errors import DataError
from trainer.terminal import track

_FORMAT = 1
_AHEAD = 64  # decoded photos that may wait to be written


@dataclass(frozen=True)
class Unreadable:
    """A photo that was left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class _Index:
    """Where each photo lies in the pixels, and what was left out.

    Attributes:
        kept: int64 [n], positions among the photos that were asked for.
        shapes: int64 [n, 3], channels, height, width.
        digests: SHA-256 of each kept file.
        unreadable: Position and reason of each photo that is not kept.
    """

    kept: NDArray[np.int64]
    shapes: NDArray[np.int64]
    digests: list[str]
    unreadable: list[tuple[int, str]]

    @property
    def ends(self) -> NDArray[np.int64]:
        """int64 [n + 1]: where each photo ends in the pixels, in bytes, after a leading 0."""
        sizes = self.shapes.prod(axis=1)
        return np.concatenate([np.zeros(1, np.int64), sizes.cumsum()])


@dataclass(frozen=True)
class Pack(Sequence[Tensor]):
    """Photos, uint8 [3, h, w] each.

    Attributes:
        photos: Those that could be read, in order.
        digests: SHA-256 of each file.
        unreadable: What was left out.
    """

    photos: list[Photo]
    digests: list[str]
    unreadable: list[Unreadable]
    _pixels: NDArray[np.uint8]
    _shapes: NDArray[np.int64]
    _ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        pixels = self._pixels[self._ends[index] : self._ends[index + 1]]
        return torch.from_numpy(pixels).view(*self._shapes[index])

    def stacked(self) -> Tensor:
        """uint8 [n, 3, h, w]; every photo must have the same size."""
        return torch.from_numpy(self._pixels).view(len(self), *self._shapes[0])


def read_pack(
    photos: Sequence[Photo], shape: Callable[[Tensor], Tensor], kind: str, cache: Path | None
) -> Pack:
    """Decode ``photos``, or map the pack of an earlier run.

    Args:
        photos: What to read.
        shape: From a decoded photo, uint8 [3, h, w], to what is kept of it.
        kind: Says what ``shape`` does; part of the pack's name.
        cache: Where packs are kept; in memory alone where it is not given.

    Raises:
        DataError: No photo is readable, or the cache cannot be written.
    """
    if cache is None:
        with TemporaryDirectory() as folder:
            return _read(photos, shape, Path(folder) / "pack", in_memory=True)
    name = _name(photos, kind)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return _read(photos, shape, cache / name, in_memory=False)
    except OSError as error:
        raise DataError(
            f"decoded photos cannot be kept in {cache}: {error.strerror}; --cache names another"
            " folder"
        ) from error


def _read(
    photos: Sequence[Photo], shape: Callable[[Tensor], Tensor], base: Path, *, in_memory: bool
) -> Pack:
    pixels_path, index_path = base.with_suffix(".pixels"), base.with_suffix(".npz")
    index = _load_index(index_path, pixels_path)
    if index is None:
        index = _build(photos, shape, pixels_path, index_path)
    unreadable = [Unreadable(photos[at].path, reason) for at, reason in index.unreadable]
    if not len(index.kept):
        raise DataError(f"none of {len(photos)} photos can be read; first: {unreadable[0].reason}")
    # Copy on write: torch wants writable memory, and nobody is to write to the pack.
    mapped = np.memmap(pixels_path, np.uint8, mode="c")
    return Pack(
        photos=[photos[at] for at in index.kept],
        digests=index.digests,
        unreadable=unreadable,
        _pixels=np.array(mapped) if in_memory else mapped,
        _shapes=index.shapes,
        _ends=index.ends,
    )


def _build(
    photos: Sequence[Photo],
    shape: Callable[[Tensor], Tensor],
    pixels_path: Path,
    index_path: Path,
) -> _Index:
    kept, shapes, digests, unreadable = [], [], [], []
    with _beside(pixels_path) as file:
        for at, outcome in enumerate(track(_decoded(photos, shape), len(photos), "reading photos")):
            if isinstance(outcome, str):
                unreadable.append((at, outcome))
                continue
            image, digest = outcome
            kept.append(at)
            shapes.append(tuple(image.shape))
            digests.append(digest)
            file.write(image.contiguous().numpy().data)
    index = _Index(
        np.array(kept, np.int64), np.array(shapes, np.int64).reshape(-1, 3), digests, unreadable
    )
    with _beside(index_path) as file:
        np.savez(
            file,
            kept=index.kept,
            shapes=index.shapes,
            digests=np.array(digests, dtype="S64"),
            unreadable=np.array(json.dumps(unreadable)),
        )
    return index


def _load_index(index_path: Path, pixels_path: Path) -> _Index | None:
    """The index of a whole pack; None where there is none, or a damaged one."""
    try:
        # Opened here: numpy does not close a file that it cannot read.
        with index_path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            index = _Index(
                kept=file["kept"],
                shapes=file["shapes"],
                digests=[digest.decode() for digest in file["digests"]],
                unreadable=[(at, reason) for at, reason in json.loads(str(file["unreadable"]))],
            )
        whole = pixels_path.stat().st_size == index.ends[-1]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
        return None
    return index if whole else None


@contextmanager
def _beside(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name when it is whole, and vanishes when it is not."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _decoded(
    photos: Sequence[Photo], shape: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Tensor, str] | str]:
    """Decode on every core, in order, a bounded number ahead."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = iter(photos)
        running: list[Future[tuple[Tensor, str] | str]] = [
            pool.submit(_decode, photo, shape) for photo in islice(waiting, _AHEAD)
        ]
        while running:
            yield running.pop(0).result()
            running += [pool.submit(_decode, photo, shape) for photo in islice(waiting, 1)]


def _decode(photo: Photo, shape: Callable[[Tensor], Tensor]) -> tuple[Tensor, str] | str:
    """The kept image and the file's digest, or the reason why it cannot be read."""
    try:
        data = photo.path.read_bytes()
        return shape(decode(data, ImageLimits())), hashlib.sha256(data).hexdigest()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ImageError as error:
        return str(error)


def _name(photos: Sequence[Photo], kind: str) -> str:
    """Names a pack by its photos' paths, sizes and times of change."""
    digest = hashlib.sha256(f"{_FORMAT} {kind}".encode())
    for photo in photos:
        try:
            status = photo.path.stat()
            facts = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            facts = "missing"
        digest.update(f"\n{photo.path.resolve()} {facts}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]
