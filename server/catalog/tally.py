"""What a model version's batches took, by their exact size.

The metrics have sizes in buckets, which are few and the same for all.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Runs:
    """Runs of the engine.

    Attributes:
        count: How many.
        seconds: How long in all.
    """

    count: int = 0
    seconds: float = 0.0


class BatchTally:
    """Counts a version's batches; there are as many sizes as a batch may have.

    Attributes:
        last_s: When the last one ended, in seconds since the epoch; 0: there was none.
    """

    def __init__(self) -> None:
        self.last_s = 0.0
        self._by_size: dict[int, Runs] = {}

    def add(self, size: int, run_s: float) -> None:
        """Count a batch."""
        before = self._by_size.get(size, Runs())
        self._by_size[size] = Runs(before.count + 1, before.seconds + run_s)
        self.last_s = time.time()

    @property
    def by_size(self) -> Mapping[int, Runs]:
        """The runs by the size of their batch, smallest first."""
        return dict(sorted(self._by_size.items()))
