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
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ImageError
from trainer.beside import file_beside
from trainer.data.catalogue import Photo
from trainer.errors import DataError
from trainer.terminal import track

_FORMAT = 2  # changes with the pixels that a photo gives
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
        lasting: Whether a later run would find the same: False where the disk, and not a
            photo, was at fault.
    """

    kept: NDArray[np.int64]
    shapes: NDArray[np.int64]
    digests: list[str]
    unreadable: list[tuple[int, str]]
    lasting: bool = True

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

    def __getstate__(self) -> dict[str, Any]:
        """What a loader's spawned worker is sent: the name of the pixels' file, not the pixels."""
        state = dict(self.__dict__)
        if isinstance(self._pixels, np.memmap):
            state["_pixels"] = self._pixels.filename
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if not isinstance(state["_pixels"], np.ndarray):
            state["_pixels"] = _map(state["_pixels"])
        self.__dict__.update(state)

    def stacked(self) -> Tensor:
        """uint8 [n, 3, h, w]; every photo must have the same size."""
        return torch.from_numpy(self._pixels).view(len(self), *self._shapes[0])


def read_pack(
    photos: Sequence[Photo], prepare: Callable[[bytes], Tensor], kind: str, cache: Path | None
) -> Pack:
    """Decode ``photos``, or map the pack of an earlier run.

    Args:
        photos: What to read.
        prepare: From a photo's file to what is kept of it, uint8 [3, h, w].
        kind: Says what ``prepare`` does; part of the pack's name.
        cache: Where packs are kept; in memory alone where it is not given.

    Raises:
        DataError: No photo is readable, or the cache cannot be written.
    """
    if cache is None:
        pixels = BytesIO()
        index = _fill(photos, prepare, pixels)
        return _pack(photos, index, np.frombuffer(pixels.getbuffer(), np.uint8))
    base = cache / _name(photos, kind)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return _read(photos, prepare, base.with_suffix(".pixels"), base.with_suffix(".npz"))
    except OSError as error:
        raise DataError(
            f"decoded photos cannot be kept in {cache}: {error.strerror}; --cache names another"
            " folder"
        ) from error


def _read(
    photos: Sequence[Photo],
    prepare: Callable[[bytes], Tensor],
    pixels_path: Path,
    index_path: Path,
) -> Pack:
    index = _load_index(index_path, pixels_path)
    if index is None:
        with file_beside(pixels_path) as file:
            index = _fill(photos, prepare, file)
        if index.lasting:
            _save_index(index, index_path, pixels_path)
    return _pack(photos, index, _map(pixels_path) if len(index.kept) else np.empty(0, np.uint8))


def _map(pixels_path: Path) -> NDArray[np.uint8]:
    # Copy on write: torch wants writable memory, and nobody is to write to the pack.
    return np.memmap(pixels_path, np.uint8, mode="c")


def _pack(photos: Sequence[Photo], index: _Index, pixels: NDArray[np.uint8]) -> Pack:
    unreadable = [Unreadable(photos[at].path, reason) for at, reason in index.unreadable]
    if not len(index.kept):
        raise DataError(f"none of {len(photos)} photos can be read; first: {unreadable[0].reason}")
    return Pack(
        photos=[photos[at] for at in index.kept],
        digests=index.digests,
        unreadable=unreadable,
        _pixels=pixels,
        _shapes=index.shapes,
        _ends=index.ends,
    )


def _fill(photos: Sequence[Photo], prepare: Callable[[bytes], Tensor], file: IO[bytes]) -> _Index:
    """Write the pixels of each photo to ``file``; say where each lies."""
    kept, shapes, digests, unreadable = [], [], [], []
    lasting = True
    for at, outcome in enumerate(track(_decoded(photos, prepare), len(photos), "reading photos")):
        match outcome:
            case OSError():
                unreadable.append((at, f"cannot be read: {outcome.strerror}"))
                lasting = False
            case ImageError():
                unreadable.append((at, str(outcome)))
            case image, digest:
                kept.append(at)
                shapes.append(tuple(image.shape))
                digests.append(digest)
                file.write(image.contiguous().numpy().data)
    return _Index(
        np.array(kept, np.int64),
        np.array(shapes, np.int64).reshape(-1, 3),
        digests,
        unreadable,
        lasting,
    )


def _save_index(index: _Index, index_path: Path, pixels_path: Path) -> None:
    try:
        with file_beside(index_path) as file:
            np.savez(
                file,
                kept=index.kept,
                shapes=index.shapes,
                digests=np.array(index.digests, dtype="S64"),
                unreadable=np.array(json.dumps(index.unreadable)),
            )
    except OSError:
        pixels_path.unlink(missing_ok=True)  # of no use without it
        raise


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


_Outcome = tuple[Tensor, str] | OSError | ImageError
"""The kept image and the file's digest, or why there is none."""


def _decoded(photos: Sequence[Photo], prepare: Callable[[bytes], Tensor]) -> Iterator[_Outcome]:
    """Decode on every core, in order, a bounded number ahead."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = iter(photos)
        running: list[Future[_Outcome]] = [
            pool.submit(_decode, photo, prepare) for photo in islice(waiting, _AHEAD)
        ]
        while running:
            yield running.pop(0).result()
            running += [pool.submit(_decode, photo, prepare) for photo in islice(waiting, 1)]


def _decode(photo: Photo, prepare: Callable[[bytes], Tensor]) -> _Outcome:
    try:
        data = photo.path.read_bytes()
        return prepare(data), hashlib.sha256(data).hexdigest()
    except (OSError, ImageError) as error:
        return error


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
