"""Pixels in memory that a front and the engine both see.

The front owns a file of equal slots, in a memory file system where there is one, and knows which
are taken. The engine reads a slot until it has answered the call; only then the front gives it
to another image.
"""

import mmap
import os
from pathlib import Path

import torch
from torch import Tensor


class Slots:
    """A front's slots.

    Args:
        path: Of the file to make; nobody else may read it.
        count: Images at the same time.
        size: Bytes of the largest image that fits.
    """

    def __init__(self, path: Path, count: int, size: int) -> None:
        self.path = path
        self.size = size
        self._free = list(range(count))
        path.unlink(missing_ok=True)  # of a front that was here before and died
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            # Memory is taken when a slot is first written to, not here.
            os.ftruncate(descriptor, count * size)
            self._memory = mmap.mmap(descriptor, count * size)
        finally:
            os.close(descriptor)

    def put(self, pixels: Tensor) -> int | None:
        """Copy uint8 pixels into a free slot and take it; None if there is none that fits."""
        length = pixels.numel()
        if length > self.size or not self._free:
            return None
        slot = self._free.pop()
        _tensor(self._memory, slot * self.size, length).copy_(pixels.flatten())
        return slot

    def give_back(self, slot: int) -> None:
        """The engine reads it no more."""
        self._free.append(slot)

    @property
    def free(self) -> int:
        """Slots that are not taken."""
        return len(self._free)


class SlotView:
    """The engine's sight of a front's slots.

    Args:
        path: The file.
        size: Bytes of a slot.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._size = size
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)

    def pixels(self, slot: int, height: int, width: int) -> Tensor:
        """uint8 [3, height, width] of a slot, not copied.

        Raises:
            ValueError: There is no such slot, or the image does not fit it.
        """
        length, start = 3 * height * width, slot * self._size
        if slot < 0 or length > self._size or start + length > len(self._memory):
            raise ValueError(f"no slot {slot} of {height} x {width}")
        return _tensor(self._memory, start, length).view(3, height, width)


def _tensor(memory: mmap.mmap, start: int, length: int) -> Tensor:
    return torch.frombuffer(memory, dtype=torch.uint8, count=length, offset=start)
