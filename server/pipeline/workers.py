"""Short jobs on threads, without a hand-over for each.

Handing one image to a thread and its pixels back can cost more than decoding a small one. So
a thread that has begun takes whatever waits, and the event loop is woken once for all that
is finished until it looks. Knows neither gRPC nor images.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from server.pipeline.threads import compute_threads

Result = TypeVar("Result")


@dataclass(eq=False, slots=True)
class _Job:
    """A function to call; None once its caller has left."""

    call: Callable[[], Any] | None
    result: asyncio.Future[Any]


class Workers:
    """A few threads for short jobs that release the GIL.

    Must be created and used in one event loop.

    Args:
        count: How many threads.
        name: Prefix of their names.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._waiting: deque[_Job] = deque()
        self._done: deque[tuple[_Job, Any]] = deque()
        self._running = 0
        self._starts = False  # soon
        self._settles = False  # soon
        self._loop = asyncio.get_running_loop()
        self._pool = compute_threads(count, name, torch_threads=1)

    async def run(self, call: Callable[[], Result]) -> Result:
        """What ``call`` returns; if the caller leaves before it began, it is never called.

        Raises:
            Exception: What ``call`` raises.
        """
        job = _Job(call, self._loop.create_future())
        self._waiting.append(job)
        if not self._starts:
            # After this turn of the loop, so that what arrives together goes together.
            self._starts = True
            self._loop.call_soon(self._start)
        try:
            result: Result = await job.result
            return result
        finally:
            job.call = None  # a cancelled job waits for its turn; what it holds must not

    def close(self) -> None:
        """Let running jobs finish and end the threads; what waits is dropped."""
        self._waiting.clear()
        self._pool.shutdown(cancel_futures=True)

    def _start(self) -> None:
        """Put idle threads to work, no more than there are jobs."""
        self._starts = False
        for _ in range(min(self._count - self._running, len(self._waiting))):
            self._running += 1
            self._pool.submit(self._work)

    def _work(self) -> None:
        """On a thread: run jobs until none waits."""
        while (job := self._next()) is not None:
            call = job.call
            if call is None:
                continue
            try:
                outcome = call()
            except Exception as error:
                outcome = error
            self._done.append((job, outcome))
            del job, call, outcome  # or they would live on while the thread waits
            if not self._settles:
                self._settles = True
                self._loop.call_soon_threadsafe(self._settle)
        self._loop.call_soon_threadsafe(self._stopped)

    def _next(self) -> _Job | None:
        with suppress(IndexError):  # another thread may have taken the last
            return self._waiting.popleft()
        return None

    def _settle(self) -> None:
        self._settles = False  # first: what is done from now on comes with a call of its own
        while self._done:
            job, outcome = self._done.popleft()
            if job.result.done():  # its caller has left
                continue
            if isinstance(outcome, Exception):
                job.result.set_exception(outcome)
            else:
                job.result.set_result(outcome)

    def _stopped(self) -> None:
        self._running -= 1
        if self._waiting:  # what came while the thread was stopping
            self._start()
