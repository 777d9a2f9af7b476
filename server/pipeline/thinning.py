"""Which of many are looked at, where looking at all would cost too much."""

import random
import time
from collections.abc import Callable


class Thinning:
    """Takes each, as long as they are few, and of more at random as many a second.

    A bucket of tokens decides: one comes in each 1/``per_s`` seconds, each that is taken costs
    one, and with less than a second's worth in it the chance to be taken is what is left of that.
    So those that are taken are spread evenly and follow no pattern of the traffic.

    Args:
        per_s: Taken a second, in the long run.
        burst: Taken at once, before any is left out.
        clock: In seconds.
        draw: A number from 0 to 1.
    """

    def __init__(
        self,
        per_s: float,
        burst: float,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._per_s = per_s
        self._burst = self._tokens = burst
        self._clock = clock
        self._draw = draw
        self._refilled = clock()

    def takes_one(self) -> bool:
        """Whether this one is taken."""
        now = self._clock()
        gained = (now - self._refilled) * self._per_s
        self._tokens, self._refilled = min(self._burst, self._tokens + gained), now
        if self._tokens < self._per_s and self._draw() * self._per_s >= self._tokens:
            return False
        self._tokens -= 1
        return True
