"""Buffers that batches take in turn, and the sizes that they are padded to.

Knows neither gRPC nor torch: what the buffers hold is their owner's affair.
"""

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

Slot = TypeVar("Slot")

_STEPS = (4, 5, 6, 7)  # quarters of a power of two: padding adds a fifth of a batch at most


class Ring(Generic[Slot]):
    """A few buffers, each used by one batch at a time, in the order that they came back.

    The one that has rested longest comes first, so that what the device may still be reading is
    taken last. May be used from several threads.

    Args:
        slots: The buffers; at least one.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        if not slots:
            raise ValueError("a ring has at least one slot")
        self._free = deque(slots)
        self._freed = threading.Condition()

    @property
    def free(self) -> int:
        """How many are not taken."""
        return len(self._free)

    @contextmanager
    def taken(self) -> Iterator[Slot]:
        """A buffer for this thread alone inside the block; waits until one is free."""
        with self._freed:
            self._freed.wait_for(lambda: self._free)
            slot = self._free.popleft()
        try:
            yield slot
        finally:
            with self._freed:
                self._free.append(slot)
                self._freed.notify()


def buckets(largest: int) -> list[int]:
    """The batch sizes to prepare, smallest first: all up to 8, then four to each doubling.

    Args:
        largest: The last of them, at least 1.
    """
    if largest < 1:
        raise ValueError(f"the largest batch must hold an image, not {largest}")
    sizes = {largest, *range(1, min(largest, 8) + 1)}
    unit = 2
    while 4 * unit <= largest:
        sizes |= {step * unit for step in _STEPS if step * unit <= largest}
        unit *= 2
    return sorted(sizes)


def bucket_for(sizes: Sequence[int], count: int) -> int:
    """The smallest of ``sizes``, which ascend, that holds ``count`` images.

    Raises:
        ValueError: None does.
    """
    at = bisect_left(sizes, count)
    if at == len(sizes):
        raise ValueError(f"no bucket holds {count} images; the largest has {sizes[-1]}")
    return sizes[at]
