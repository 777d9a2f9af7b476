"""What may wait: by how much waits already, and by when it would be answered.

Knows neither gRPC nor torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from math import inf

from server.pipeline.cost import CostModel


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


def predicted_end(
    now: float, ahead: int, max_batch_size: int, lanes_free_at: Sequence[float], cost: CostModel
) -> float:
    """When a new item will have been answered if nobody more urgent comes after it.

    Where it has to wait, others will have joined its batch by the time that it runs, so a full
    one is assumed, with the cost's margin: an item that is let in and then misses its deadline
    is work for nothing, and under overload that soon is all the work there is.

    Args:
        now: Clock seconds.
        ahead: How many items are served before it.
        max_batch_size: Most items in a batch.
        lanes_free_at: For each lane, when it is free, in clock seconds; in the past: now.
        cost: What batches take.
    """
    if ahead == 0 and min(lanes_free_at) <= now:
        return now + cost.predict(1)
    full = cost.predict(max_batch_size)
    starts = [max(now, free_at) for free_at in lanes_free_at]
    heapify(starts)
    for _ in range(ahead // max_batch_size):
        heapreplace(starts, starts[0] + full)
    return starts[0] + cost.bound(max_batch_size)
