"""Many photos over many replicas: single calls, a bounded number at once, in order.

A stream stays with one replica. Calls of one image each are spread over all of them, retried
by gRPC, and outlive a server that restarts: while it is away the photos wait.
"""

import time
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TypeVar

from client.errors import ClientError, UnavailableError
from client.images import ImageSource
from client.messages import Priority
from client.results import Outcome
from client.sdk import Client

K = TypeVar("K")

DEFAULT_IN_FLIGHT = 32
DEFAULT_PATIENCE_S = 60.0
_SHORTEST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0


def classify_each(
    client: Client,
    images: Iterable[tuple[K, ImageSource]],
    *,
    model: str = "",
    version: str = "",
    label: str = "",
    top_k: int | None = None,
    priority: Priority = "bulk",
    in_flight: int = DEFAULT_IN_FLIGHT,
    patience_s: float = DEFAULT_PATIENCE_S,
) -> Generator[Outcome[K], None, None]:
    """Yield the outcome of every image, in the order of `images`, in constant memory.

    Args:
        client: Whom to ask.
        images: Pairs of a key and an image, taken one by one as there is room.
        model: See ``Client.classify``, and so for the next four.
        version: See ``Client.classify``.
        label: See ``Client.classify``.
        top_k: See ``Client.classify``.
        priority: See ``Client.classify``.
        in_flight: How many images may be under way at once, at least 1.
        patience_s: How long an image waits for a server that is away or busy, in seconds.

    Outcomes carry the errors of images; those of a server that stayed away, too.
    """

    over = Event()  # set when the caller stops early

    def one(key: K, source: ImageSource) -> Outcome[K]:
        deadline_s = time.monotonic() + patience_s
        while True:
            try:
                answer = client.classify(
                    source,
                    model=model,
                    version=version,
                    label=label,
                    top_k=top_k,
                    priority=priority,
                )
                return Outcome(key, answer)
            except UnavailableError as error:
                pause_s = _pause_s(error, deadline_s - time.monotonic())
                if pause_s is None or over.wait(pause_s):
                    return Outcome(key, error=error)
            except ClientError as error:
                return Outcome(key, error=error)

    pool = ThreadPoolExecutor(in_flight, thread_name_prefix="classify")
    pending: deque[Future[Outcome[K]]] = deque()
    try:
        for key, source in images:
            pending.append(pool.submit(one, key, source))
            if len(pending) >= 2 * in_flight:  # the second half waits for its turn to be told
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        over.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _pause_s(error: UnavailableError, left_s: float) -> float | None:
    """Return how long to wait before the next attempt, in seconds; None if time is up."""
    asked_s = error.retry_after_s or 0.0
    pause_s = min(max(asked_s, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
    return pause_s if pause_s < left_s else None
