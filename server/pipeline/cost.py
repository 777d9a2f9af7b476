"""How long a batch takes: measured at warm-up, kept current while serving.

Imports nothing but the standard library.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping

_LEARNING_RATE = 0.1  # of the newest batch in the running factor
_LARGEST_STEP = 2.0  # by which one batch may differ from what is known, up or down
MARGIN = 1.25  # what batches may take beyond their prediction: times as long


class CostModel:
    """t(b), the seconds of a batch of b items.

    The shape comes from the warm-up; what changes while serving, such as a neighbour on the
    same cores, slows all sizes alike, so a single factor follows it. One outlier moves it
    by at most a tenth.

    Args:
        seconds: Measured seconds by batch size. Empty: nothing is known, and every batch is
            predicted to take no time, so that no decision is made on it.
        factor: How many times longer batches take now than when they were measured.
    """

    def __init__(self, seconds: Mapping[int, float], factor: float = 1.0) -> None:
        self._learn(seconds)
        self._factor = factor

    @property
    def known(self) -> bool:
        """Whether anything was measured."""
        return bool(self._sizes)

    @property
    def factor(self) -> float:
        """How many times longer batches take now than when they were measured."""
        return self._factor

    @property
    def sizes(self) -> tuple[int, ...]:
        """The batch sizes that were measured, ascending."""
        return tuple(self._sizes)

    def predict(self, size: int) -> float:
        """Seconds that a batch of ``size`` will take; 0 when nothing is known."""
        return self._factor * self._measured(size)

    def bound(self, size: int) -> float:
        """Seconds that a batch of ``size`` will hardly exceed; 0 when nothing is known."""
        return MARGIN * self.predict(size)

    def largest_within(self, seconds: float, most: int) -> int:
        """The largest batch that is bound to end within ``seconds``: from 1 to ``most``."""
        return max(1, bisect_right(range(1, most + 1), seconds, key=self.bound))

    def observe(self, size: int, seconds: float) -> None:
        """Learn from a batch that ran."""
        measured = self._measured(size)
        if measured <= 0 or seconds <= 0:
            return
        ratio = seconds / measured
        bounded = min(max(ratio, self._factor / _LARGEST_STEP), self._factor * _LARGEST_STEP)
        self._factor += _LEARNING_RATE * (bounded - self._factor)

    def speed_up(self, gains: Mapping[int, float]) -> None:
        """Another engine runs from now on, on the same cores beside the same neighbours.

        Args:
            gains: How many times faster it is, by batch size, measured side by side.
        """
        self._learn({size: self._measured(size) / gain for size, gain in gains.items()})

    def _learn(self, seconds: Mapping[int, float]) -> None:
        self._sizes = sorted(seconds)
        self._seconds: list[float] = []
        for size in self._sizes:
            # A larger batch never takes less: what says otherwise is noise.
            self._seconds.append(max([seconds[size], *self._seconds[-1:]]))

    def _measured(self, size: int) -> float:
        """At warm-up: between two measured sizes on a line, above the largest in proportion."""
        if not self._sizes:
            return 0.0
        if size >= self._sizes[-1]:
            return self._seconds[-1] * size / self._sizes[-1]
        at = bisect_left(self._sizes, size)
        if self._sizes[at] == size or at == 0:
            return self._seconds[at]
        low, high = self._sizes[at - 1], self._sizes[at]
        share = (size - low) / (high - low)
        return self._seconds[at - 1] + share * (self._seconds[at] - self._seconds[at - 1])
