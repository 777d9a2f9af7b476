"""Two engines timed by turns, one batch at a time, so that a neighbour slows both alike."""

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping

import torch

from server.pipeline.engine import Engine, Work

_WARM_UPS = 2
_ROUNDS = 5
_EACH = 8
_LEAST_GAIN = 1.03  # of the geometric mean over sizes: less is within the noise
_LEAST_ANYWHERE = 0.95  # a size may be slower by no more than noise

RunOnLane = Callable[[Callable[[], float]], Awaitable[float]]


async def speedups(
    old: Engine,
    new: Engine,
    image: torch.Tensor,
    max_batch_size: int,
    run_on_lane: RunOnLane,
    clock: Callable[[], float] | None = None,
) -> dict[int, float]:
    """How many times faster ``new`` is, by batch size: powers of two and the largest.

    Each run is handed to a lane by itself, so that requests are computed in between. The new
    engine is warmed at every size.

    Args:
        old: The engine that serves.
        new: The one that may replace it.
        image: uint8 [3, h, w].
        max_batch_size: The largest size.
        run_on_lane: Calls a function on a lane's thread and gives what it returns.
        clock: Seconds; None: the thread's own time where it computes alone, which does not count
            what ran in its place. For engines that compute elsewhere it would count nothing.
    """

    def timed(engine: Engine, size: int) -> Awaitable[float]:
        return run_on_lane(lambda: _seconds(engine, [Work(image, top_k=1)] * size, clock))

    for size in range(1, max_batch_size + 1):
        for _ in range(_WARM_UPS):
            await timed(new, size)
    return {
        size: statistics.median(
            [await timed(old, size) / await timed(new, size) for _ in range(_ROUNDS)]
        )
        for size in raced_sizes(max_batch_size)
    }


def raced_sizes(max_batch_size: int) -> list[int]:
    """The batch sizes that are timed: each of a few images, then powers of two and the largest.

    A compiled engine puts together what is no power of two.
    """
    each = range(1, min(max_batch_size, _EACH) + 1)
    return sorted(
        {2**power for power in range(max_batch_size.bit_length())} | {*each, max_batch_size}
    )


def wins(speedups: Mapping[int, float]) -> bool:
    """Whether it is worth to change: faster on the whole, and nowhere slower."""
    mean = statistics.geometric_mean(speedups.values())
    return mean >= _LEAST_GAIN and min(speedups.values()) >= _LEAST_ANYWHERE


def _seconds(engine: Engine, batch: list[Work], clock: Callable[[], float] | None) -> float:
    """Of one run."""
    alone = torch.get_num_threads() == 1
    now = clock or (time.thread_time if alone else time.perf_counter)
    began = now()
    engine.run(batch)
    return max(now() - began, 1e-9)
