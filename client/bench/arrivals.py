"""When calls are due in an open loop, whatever became of those before."""

import random
from collections.abc import Iterator
from itertools import count
from typing import Literal

Arrivals = Literal["poisson", "constant"]


def poisson(rate_per_s: float, seed: int) -> Iterator[float]:
    """Yield when independent callers call, in seconds from the start, without end.

    The gaps are exponential with the mean 1 / `rate_per_s`.
    """
    chance = random.Random(seed)  # noqa: S311 (repeatable, no secret)
    due_s = 0.0
    while True:
        due_s += chance.expovariate(rate_per_s)
        yield due_s


def constant(rate_per_s: float, phase: float = 0.0) -> Iterator[float]:
    """Yield evenly spaced times in seconds from the start, without end.

    `phase`, 0 to 1, shifts them by a share of a gap, so that several processes interleave.
    """
    for number in count():
        yield (number + phase) / rate_per_s
