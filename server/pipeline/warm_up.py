"""Warming an engine on all its lanes, and what its batches take: measured, or read and checked.

Every batch size is run at least once before the first request, whatever is known already: it is
the first run of a size that is slow. Knowing the times saves the runs that only measure.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.pipeline.cost import CostModel
from server.pipeline.tuning import Facts, TuningSource, TuningStore

log = logging.getLogger(__name__)

MEASURING_RUNS = 3  # TorchScript optimises on the second call of a shape
# Of all sizes alike: neighbours, which the running factor follows. A table of a quiet moment is
# better than one that is measured beside them.
_MOST_SLOWER, _MOST_FASTER = 4.0, 2.0
_MOST_BENDING = 1.75  # of one size against another: the table has another shape
_CHECKS = 2  # the first may have been disturbed

Seconds = dict[int, float]


class Warmable(Protocol):
    """What can be warmed."""

    def warm_up(self, sizes: Sequence[int], runs: int) -> Seconds:
        """Run each batch size ``runs`` times; seconds of the last run, by size."""
        ...


class OnLanes(Protocol):
    """The lanes' threads."""

    def __call__(self, call: Callable[[int], Seconds]) -> Awaitable[list[Seconds]]:
        """Call it with each lane's number, side by side; what each gave."""
        ...


@dataclass(frozen=True)
class Tuning:
    """What the batches of an engine take, and how that is known.

    Attributes:
        cost: Kept current from now on.
        source: How it is known.
    """

    cost: CostModel
    source: TuningSource


async def warmed(
    engine: Warmable,
    max_batch_size: int,
    lanes: int,
    on_lanes: OnLanes,
    store: TuningStore | None,
    facts: Facts,
) -> Tuning:
    """Warm ``engine`` on all lanes, for all batch sizes.

    Args:
        engine: Loaded.
        max_batch_size: The largest size.
        lanes: How many there are.
        on_lanes: Runs a call on each lane at the same time, as batches will.
        store: Of earlier measurements; None: measure.
        facts: All that these depend on.
    """
    sizes = range(1, max_batch_size + 1)
    saved = await asyncio.to_thread(store.find, facts, sizes) if store else None
    if saved is not None:
        checked = checked_sizes(max_batch_size)
        others = [size for size in sizes if size not in checked]
        await on_lanes(lambda lane: engine.warm_up(others[lane::lanes], 1))
        for _ in range(_CHECKS):
            now = _slowest(await on_lanes(lambda _lane: engine.warm_up(checked, MEASURING_RUNS)))
            factor = change(saved, now)
            if factor is not None:
                return Tuning(CostModel(saved, factor), TuningSource.READ)
        log.info("batch times have changed since they were measured", extra=_shown(saved, now))
    measured = _slowest(await on_lanes(lambda _lane: engine.warm_up(sizes, MEASURING_RUNS)))
    if store is not None:
        await asyncio.to_thread(store.keep, facts, measured)
    return Tuning(CostModel(measured), TuningSource.MEASURED)


def checked_sizes(max_batch_size: int) -> list[int]:
    """The sizes that tell whether a table still holds: its ends and one between them."""
    return sorted({1, max(1, max_batch_size // 4), max_batch_size})


def change(saved: Mapping[int, float], now: Mapping[int, float]) -> float | None:
    """How many times longer batches take than when they were measured; None: it does not hold.

    It holds where all sizes have changed nearly alike, and not by too much.

    Args:
        saved: Seconds by size.
        now: Seconds of some of these sizes.
    """
    ratios = sorted(seconds / saved[size] for size, seconds in now.items())
    least, most = ratios[0], ratios[-1]
    if most > _MOST_SLOWER or least * _MOST_FASTER < 1 or most > _MOST_BENDING * least:
        return None
    return ratios[len(ratios) // 2]


def _slowest(measured: Collection[Seconds]) -> Seconds:
    """The lanes were warmed side by side, as they will run."""
    sizes = next(iter(measured))
    return {size: max(one[size] for one in measured) for size in sizes}


def _shown(saved: Mapping[int, float], now: Mapping[int, float]) -> dict[str, dict[str, str]]:
    return {
        "fields": {
            str(size): f"{saved[size] * 1e3:.1f} to {seconds * 1e3:.1f} ms"
            for size, seconds in now.items()
        }
    }
