"""How many calls of one client may be under way at the same time; more wait here for their turn.

gRPC's server refuses a connection's calls beyond its limit (--max-calls-per-connection), and
counts those that it has answered until it has let go of them, too. gRPC's client hears of the
limit only once it is connected, and knows nothing of those that linger. What is too much comes
back as UNAVAILABLE, with too many failures at once for retries to help.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from threading import Semaphore

# Half of what servers allow unless told otherwise, 1024: at 1,000 one in five of a crowd of 4,000
# was refused, at 500 none.
MOST_CALLS = 500


class Places:
    """Places for calls. Safe to share between threads."""

    def __init__(self, count: int = MOST_CALLS) -> None:
        self._free = Semaphore(count)

    @contextmanager
    def taken(self, timeout_s: float | None) -> Iterator[float | None]:
        """Hold a place; gives the seconds that are left of `timeout_s`.

        Raises:
            TimeoutError: There was none in this time.
        """
        began = time.monotonic()
        if not self._free.acquire(timeout=timeout_s):
            raise TimeoutError
        try:
            yield _left_s(timeout_s, time.monotonic() - began)
        finally:
            self._free.release()


class AsyncPlaces:
    """The same for asyncio: first come, first served. Belongs to one event loop."""

    def __init__(self, count: int = MOST_CALLS) -> None:
        self._free = asyncio.Semaphore(count)

    @asynccontextmanager
    async def taken(self, timeout_s: float | None) -> AsyncIterator[float | None]:
        """Hold a place; gives the seconds that are left of `timeout_s`.

        Raises:
            TimeoutError: There was none in this time.
        """
        began = time.monotonic()
        if self._free.locked():
            await asyncio.wait_for(self._free.acquire(), timeout_s)
        else:
            await self._free.acquire()  # at once
        try:
            yield _left_s(timeout_s, time.monotonic() - began)
        finally:
            self._free.release()


def _left_s(timeout_s: float | None, spent_s: float) -> float | None:
    return None if timeout_s is None else max(0.0, timeout_s - spent_s)
