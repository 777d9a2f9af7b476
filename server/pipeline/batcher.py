"""Dynamic batching on asyncio: every accepted item is answered exactly once.

An engine that is free takes what waits at once; while all lanes work, the next
batch fills up. Knows neither gRPC nor torch. The clock is the event loop's.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Generic, TypeVar

from server.errors import DeadlineExpiredError, DrainingError, EngineError, QueueFullError
from server.pipeline.queue import Batch, BatchQueue, CloseReason, Ticket

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

RunBatch = Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]]


@dataclass(frozen=True)
class Answer(Generic[Result]):
    """A result with what it took.

    Attributes:
        result: What the engine gave for the item.
        queue_s: Seconds from submission to the start of the batch.
        run_s: Seconds that the batch ran.
        batch_size: Items in the batch.
    """

    result: Result
    queue_s: float
    run_s: float
    batch_size: int


@dataclass(frozen=True)
class BatchRecord:
    """A batch that ran, for metrics.

    Attributes:
        size: Items in it.
        run_s: Seconds it ran.
        reason: Why it closed.
    """

    size: int
    run_s: float
    reason: CloseReason


class Batcher(Generic[Item, Result]):
    """Groups submitted items into batches for ``run_batch``.

    Must be created and used in one event loop.

    Args:
        run_batch: Computes a batch: one result, or one exception, per item in order.
            When it raises, the batch is retried in halves until the culprit stands alone.
        max_batch_size: Most items in a batch.
        max_delay_s: Longest wait for company while a lane is free.
        queue_limit: Most items that may wait.
        lanes: Batches that may run at the same time.
        on_batch: Called after each batch.
    """

    def __init__(
        self,
        run_batch: RunBatch[Item, Result],
        *,
        max_batch_size: int,
        max_delay_s: float = 0.0,
        queue_limit: int = 1024,
        lanes: int = 1,
        on_batch: Callable[[BatchRecord], None] = lambda _record: None,
    ) -> None:
        self._run_batch = run_batch
        self._queue_limit = queue_limit
        self._on_batch = on_batch
        self._loop = asyncio.get_running_loop()
        self._queue: BatchQueue[Item] = BatchQueue(max_batch_size, max_delay_s)
        self._futures: dict[Ticket[Item], asyncio.Future[Answer[Result]]] = {}
        self._free_lanes = lanes
        self._running: set[asyncio.Task[None]] = set()
        self._draining = False
        self._dispatch_handle: asyncio.Handle | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def depth(self) -> int:
        """How many items wait."""
        return len(self._queue)

    async def submit(
        self, item: Item, *, priority: int = 0, deadline: float = inf
    ) -> Answer[Result]:
        """Wait for the item's result.

        Cancelling the caller takes the item out of the queue; in the engine already,
        its result is dropped and its neighbours are unharmed.

        Args:
            item: What ``run_batch`` gets.
            priority: 0 is the most urgent.
            deadline: On the event loop's clock, in seconds.

        Raises:
            DrainingError: The batcher no longer takes items.
            QueueFullError: Too many items wait.
            DeadlineExpiredError: The deadline passed before a batch took the item.
            Exception: Whatever ``run_batch`` gave for this item.
        """
        ticket = self._admit(item, priority, deadline)
        future = self._futures[ticket]
        expiry = self._loop.call_at(deadline, self._expire, ticket) if deadline < inf else None
        try:
            return await future
        finally:
            if expiry is not None:
                expiry.cancel()
            self._queue.remove(ticket)
            del self._futures[ticket]
            if not self._futures:
                self._idle.set()

    async def drain(self) -> None:
        """Refuse new items and return when all accepted ones are answered."""
        self._draining = True
        self._dispatch()
        await self._idle.wait()
        if self._running:  # batches whose callers have all gone
            await asyncio.wait(self._running)

    def _admit(self, item: Item, priority: int, deadline: float) -> Ticket[Item]:
        now = self._loop.time()
        if self._draining:
            raise DrainingError("the model is shutting down and takes no new requests")
        if deadline <= now:
            raise DeadlineExpiredError("the deadline passed before the request could be queued")
        if len(self._queue) >= self._queue_limit:
            raise QueueFullError(f"{len(self._queue)} requests wait already")
        ticket = Ticket(item, now, priority, deadline)
        self._futures[ticket] = self._loop.create_future()
        self._queue.add(ticket)
        self._idle.clear()
        self._dispatch_soon(now)
        return ticket

    def _dispatch_soon(self, when: float) -> None:
        """Dispatch after this turn of the loop, so that what arrives together goes together."""
        if self._free_lanes == 0:
            return
        if self._dispatch_handle is not None:
            if not isinstance(self._dispatch_handle, asyncio.TimerHandle):
                return
            self._dispatch_handle.cancel()
        if when <= self._loop.time():
            self._dispatch_handle = self._loop.call_soon(self._dispatch)
        else:
            self._dispatch_handle = self._loop.call_at(when, self._dispatch)

    def _dispatch(self) -> None:
        """Give free lanes what is due, and come back when the rest is."""
        if self._dispatch_handle is not None:
            self._dispatch_handle.cancel()
            self._dispatch_handle = None
        while self._free_lanes > 0:
            batch = self._queue.take(self._loop.time(), draining=self._draining)
            if batch is None:
                break
            self._free_lanes -= 1
            task = self._loop.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(partial(self._lane_freed, batch))
        due = self._queue.closes_at()
        if due < inf and not self._draining:
            self._dispatch_soon(due)

    def _lane_freed(self, batch: Batch[Item], task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._free_lanes += 1
        self._dispatch()
        # The callback, unlike the task, runs even if the task was cancelled before it began.
        unanswered: Exception
        if task.cancelled():
            unanswered = DrainingError("the server stopped before the request was computed")
        elif (error := task.exception()) is not None:
            log.error("a batch did not end well", exc_info=error)
            unanswered = EngineError("the result was lost")
        else:
            return
        for ticket in batch.tickets:
            self._settle(ticket, unanswered)

    async def _run(self, batch: Batch[Item]) -> None:
        # A cancelled caller takes a turn of the loop to leave the queue, and may be taken then.
        tickets = [ticket for ticket in batch.tickets if self._waiter(ticket) is not None]
        if not tickets:
            return
        started = self._loop.time()
        outcomes = await self._outcomes([ticket.item for ticket in tickets])
        run_s = self._loop.time() - started
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self._settle(ticket, outcome)
            else:
                queue_s = started - ticket.enqueued_at
                self._settle(ticket, Answer(outcome, queue_s, run_s, len(tickets)))
        self._on_batch(BatchRecord(len(tickets), run_s, batch.reason))

    async def _outcomes(self, items: Sequence[Item]) -> list[Result | Exception]:
        try:
            outcomes = list(await self._run_batch(items))
            if len(outcomes) != len(items):
                raise RuntimeError(f"{len(items)} items gave {len(outcomes)} outcomes")  # noqa: TRY301
        except Exception as error:
            if len(items) == 1:
                return [error]
            log.warning("a batch of %d failed and is retried in halves", len(items), exc_info=True)
            half = len(items) // 2
            return [*await self._outcomes(items[:half]), *await self._outcomes(items[half:])]
        return outcomes

    def _expire(self, ticket: Ticket[Item]) -> None:
        # In the engine already: too late to save work, and the answer may still be in time.
        if self._queue.remove(ticket):
            self._settle(ticket, DeadlineExpiredError("the deadline passed in the queue"))

    def _settle(self, ticket: Ticket[Item], outcome: Answer[Result] | Exception) -> None:
        future = self._waiter(ticket)
        if future is None:
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _waiter(self, ticket: Ticket[Item]) -> asyncio.Future[Answer[Result]] | None:
        """Who still waits for this ticket; None when answered or gone."""
        future = self._futures.get(ticket)
        return None if future is None or future.done() else future
