"""What may wait: by how much waits already, and by when it would be answered.

Knows neither gRPC nor torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from math import inf

from server.pipeline.cost import MARGIN, CostModel


@dataclass(frozen=True)
class QueuePolicy:
    """How one priority may use the queue.

    Attributes:
        limit: Most items of this priority that may wait.
        timeout_s: Longest time to the answer, in seconds; a caller's deadline may be earlier,
            not later.
    """

    limit: float = inf
    timeout_s: float = inf


def planned_batch(allowed_s: float, most: int, cost: CostModel) -> int:
    """How many items are counted on in a batch by one that may take ``allowed_s`` to be answered.

    It may come just after a batch of as many has started, and then runs in the next one. Batches
    that take longer than half of what is allowed would be full of items that come too late, or,
    where those are refused, wait for hardly anybody: see docs/batching.md. Where not even one item
    takes that little, it cannot miss a batch, and the largest that is in time is counted on.

    Args:
        allowed_s: From its arrival to its deadline, in seconds; inf: any time.
        most: Most items in a batch.
        cost: What batches take.
    """
    if allowed_s == inf:
        return most
    within = allowed_s / 2 if cost.bound(1) <= allowed_s / 2 else allowed_s
    return cost.largest_within(within, most)


def predicted_end(
    now: float, ahead: int, batch_size: int, lanes_free_at: Sequence[float], cost: CostModel
) -> float:
    """When a new item will have been answered, with a margin, if nobody more urgent comes.

    Where it has to wait, others will have joined its batch by the time that it runs, so a full
    one is assumed, and all of it with the cost's margin: an item that is let in and then misses
    its deadline is work for nothing, and under overload that soon is all the work there is.

    Args:
        now: Clock seconds.
        ahead: How many items are served before it.
        batch_size: Items in a full batch.
        lanes_free_at: For each lane, when it is free, in clock seconds; in the past: now.
        cost: What batches take.
    """
    if ahead == 0 and min(lanes_free_at) <= now:
        return now + cost.predict(1)
    return predicted_ends(now, ahead // batch_size, batch_size, lanes_free_at, cost)[-1]


def predicted_ends(
    now: float, batches: int, batch_size: int, lanes_free_at: Sequence[float], cost: CostModel
) -> list[float]:
    """When those will have been answered, with a margin, whose batch is the first, up to the last.

    Args:
        now: Clock seconds.
        batches: Full ones that are served before the last, at least 0.
        batch_size: Items in a full batch.
        lanes_free_at: As for :func:`predicted_end`.
        cost: What batches take.
    """
    full = cost.predict(batch_size)
    starts = [max(now, free_at) for free_at in lanes_free_at]
    heapify(starts)
    ends = [starts[0] + full]
    for _ in range(batches):
        heapreplace(starts, starts[0] + full)
        ends.append(starts[0] + full)
    return [now + MARGIN * (end - now) for end in ends]
