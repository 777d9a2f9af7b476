"""What an engine that has run out of memory is still asked to do.

Knows neither gRPC nor torch. The batcher runs a failed batch again in halves; here it is learned
that batches of that size had better not be formed again.
"""

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

_MOST_IN_A_ROW = 3  # single images for which there was no memory, and no batch that went well


class MemoryPressure:
    """Halves the largest batch whenever there is no memory for one, down to single images.

    Args:
        largest: The largest batch at the start.

    Attributes:
        largest: The largest batch that is still tried.
        on_limit: Told the new largest batch.
        on_unfit: Told why not even single images can be computed; once.
    """

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.on_limit: Callable[[int], None] = lambda _largest: None
        self.on_unfit: Callable[[str], None] = lambda _reason: None
        self._in_a_row = 0
        self._unfit = False

    def ran_out(self, size: int) -> None:
        """There was no memory for a batch of ``size``."""
        if size > 1:
            smaller = size // 2
            if smaller < self.largest:
                self.largest = smaller
                log.warning("no memory for %d images: batches have %d at most", size, smaller)
                self.on_limit(smaller)
            return
        self._in_a_row += 1
        if self._in_a_row >= _MOST_IN_A_ROW and not self._unfit:
            self._unfit = True
            self.on_unfit("the device has no memory left for a single image")

    def went_well(self) -> None:
        """A batch was computed."""
        self._in_a_row = 0
