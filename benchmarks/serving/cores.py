"""Which cores the server has, and which the load generator."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from benchmarks.serving.scenarios import Kind


def shares(kind: Kind) -> tuple[list[int], list[int]]:
    """Return the server's cores and the generator's.

    Under overload the generator has the last one to itself: callers bring their own cores, and
    three times the requests take the time of three times the callers. Else both have all.
    """
    every = sorted(os.sched_getaffinity(0))
    if kind == "overload" and len(every) > 1:
        return every[:-1], every[-1:]
    return every, every


@contextmanager
def on(cores: Collection[int]) -> Iterator[None]:
    """Run the block's thread on some cores, and the threads and processes that it starts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
