"""Answers that were given, to be given again: bounded in bytes, one computation for each key at a
time. Pure asyncio: knows neither gRPC nor torch, nor what an answer is.

::

    get ──> kept? ──> HIT
             └─ computed now? ──> wait for that ──> JOINED (failed: from the start, for oneself)
                               └─ compute ──> keep ──> MISS

Failures are never kept. Whoever leaves, first or last, takes nobody's answer along: a computation
ends early only when nobody waits for it any more.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from server.errors import DeadlineExpiredError

_ENTRY_BYTES = 512  # of an entry beside its value: its key, and Python's objects

Compute = Callable[[], Coroutine[None, None, bytes]]


class Origin(StrEnum):
    """Where a value came from."""

    HIT = "hit"
    JOINED = "joined"
    MISS = "miss"


@dataclass(frozen=True)
class Found:
    """A value.

    Attributes:
        value: As it was computed.
        origin: Where it came from; only a MISS was computed for whoever asked.
    """

    value: bytes
    origin: Origin


@dataclass(eq=False)
class _Flight:
    """A computation under way, and how many wait for it."""

    task: "asyncio.Task[bytes]"
    waiting: int = 0


class AnswerCache:
    """Keeps the values that were asked for last.

    Must be created and used in one event loop.

    Args:
        capacity_bytes: Of values, with what it costs to keep them.
        is_shared: Whether a failure holds for everybody who asks for the same; others are of
            whoever computed, and each who waited computes anew.
        on_evict: Called for each value that has to make room.
    """

    def __init__(
        self,
        capacity_bytes: int,
        is_shared: Callable[[Exception], bool] = lambda _error: False,
        on_evict: Callable[[], None] = lambda: None,
    ) -> None:
        self._capacity_bytes = capacity_bytes
        self._is_shared = is_shared
        self._on_evict = on_evict
        self._values: OrderedDict[Hashable, bytes] = OrderedDict()  # the one used last is last
        self._flights: dict[tuple[Hashable, int], _Flight] = {}
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """What is kept now."""
        return self._held_bytes

    async def get(
        self,
        key: Hashable,
        compute: Compute,
        *,
        urgency: int = 0,
        deadline: float = inf,
        keeps: Callable[[], bool] = lambda: True,
    ) -> Found:
        """The value of a key.

        Args:
            key: Everything that the value depends on.
            compute: Its value, if nobody else computes it already. It may go on after this was
                cancelled, for others.
            urgency: Only who is as urgent waits for the same computation: else somebody urgent
                would wait in another's place.
            deadline: On the event loop's clock, in seconds: how long to wait for another's
                computation. One's own has to know by itself.
            keeps: Asked after ``compute`` whether its value is one to keep.

        Raises:
            DeadlineExpiredError: Another's computation took too long.
            Exception: Whatever ``compute`` raised.
        """
        while True:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
                return Found(value, Origin.HIT)
            flight = self._flights.get((key, urgency))
            if flight is None:
                return Found(await self._lead(key, urgency, compute, keeps), Origin.MISS)
            joined = await self._join(key, urgency, flight, deadline)
            if joined is not None:
                return Found(joined, Origin.JOINED)

    async def _lead(
        self, key: Hashable, urgency: int, compute: Compute, keeps: Callable[[], bool]
    ) -> bytes:
        task = asyncio.get_running_loop().create_task(self._fly(key, urgency, compute, keeps))
        task.add_done_callback(_read)
        flight = self._flights[key, urgency] = _Flight(task)
        return await self._wait(key, urgency, flight)

    async def _join(
        self, key: Hashable, urgency: int, flight: _Flight, deadline: float
    ) -> bytes | None:
        """The value that another computes; None if it failed for reasons of its own."""
        try:
            async with asyncio.timeout_at(None if deadline == inf else deadline):
                return await self._wait(key, urgency, flight)
        except TimeoutError as error:
            if not flight.task.done():
                raise DeadlineExpiredError(
                    "the deadline passed while the same was computed for another request"
                ) from error
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if me is None or me.cancelling() or not flight.task.cancelled():
                raise
        except Exception as error:
            if self._is_shared(error):
                raise
        return None

    async def _wait(self, key: Hashable, urgency: int, flight: _Flight) -> bytes:
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if flight.waiting == 0 and not flight.task.done():
                self._land(key, urgency, flight.task)  # who comes now starts anew
                flight.task.cancel()

    async def _fly(
        self, key: Hashable, urgency: int, compute: Compute, keeps: Callable[[], bool]
    ) -> bytes:
        try:
            value = await compute()
            if keeps():
                self._keep(key, value)
        finally:
            self._land(key, urgency, asyncio.current_task())
        return value

    def _land(self, key: Hashable, urgency: int, task: object) -> None:
        flight = self._flights.get((key, urgency))
        if flight is not None and flight.task is task:
            del self._flights[key, urgency]

    def _keep(self, key: Hashable, value: bytes) -> None:
        size = len(value) + _ENTRY_BYTES
        if size > self._capacity_bytes:
            return
        known = self._values.pop(key, None)  # by somebody of another urgency
        if known is not None:
            self._held_bytes -= len(known) + _ENTRY_BYTES
        while self._held_bytes + size > self._capacity_bytes:
            _, oldest = self._values.popitem(last=False)
            self._held_bytes -= len(oldest) + _ENTRY_BYTES
            self._on_evict()
        self._values[key] = value
        self._held_bytes += size


def _read(task: "asyncio.Task[bytes]") -> None:
    """Take in a failure that nobody waited for, or asyncio would complain of it."""
    if not task.cancelled():
        task.exception()
