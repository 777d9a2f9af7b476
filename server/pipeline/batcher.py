"""Dynamic batching on asyncio: every accepted item is answered exactly once.

An engine that is free takes what waits at once; while all lanes work, the next
batch fills up. What is decided, and why, is in ``queue``, ``admission`` and ``lanes``;
here it meets the event loop, whose clock it goes by. Knows neither gRPC nor torch.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from math import inf
from typing import Generic, TypeVar

from server.errors import DeadlineExpiredError, DrainingError, EngineError, QueueFullError
from server.pipeline.admission import QueuePolicy, planned_batch, predicted_end, predicted_ends
from server.pipeline.cost import CostModel
from server.pipeline.lanes import Lane, Lanes
from server.pipeline.queue import Batch, BatchQueue, CloseReason, Ticket

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

_NO_POLICY = QueuePolicy()
_SOON_S = 0.01  # the shortest advice on when to come back

RunBatch = Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]]


@dataclass(frozen=True)
class Answer(Generic[Result]):
    """A result with what it took.

    Attributes:
        result: What the engine gave for the item.
        queue_s: Seconds from submission to the start of the batch.
        run_s: Seconds that the batch ran.
        batch_size: Items in the batch.
        reason: Why the batch closed.
        predicted_s: Seconds that the batch was predicted to run.
        step: How far its inputs were shrunk; 0: not at all.
    """

    result: Result
    queue_s: float
    run_s: float
    batch_size: int
    reason: CloseReason
    predicted_s: float
    step: int = 0


@dataclass(frozen=True)
class BatchRecord:
    """A batch that ran, for metrics.

    Attributes:
        size: Items in it.
        run_s: Seconds it ran.
        reason: Why it closed.
        predicted_s: Seconds that it was predicted to run.
        step: How far its inputs were shrunk; 0: not at all.
    """

    size: int
    run_s: float
    reason: CloseReason
    predicted_s: float
    step: int = 0


@dataclass(frozen=True)
class Smaller(Generic[Item, Result]):
    """A way to compute batches of shrunk inputs, for when there is not enough time for whole ones.

    Attributes:
        run_batch: As the batcher's own.
        cost: What its batches take, kept current; less than those of larger inputs.
    """

    run_batch: RunBatch[Item, Result]
    cost: CostModel


class Drop(StrEnum):
    """Why an item never reached the engine."""

    QUEUE_FULL = "queue_full"  # too many wait
    TOO_LATE = "too_late"  # on arrival it was predicted to miss its deadline
    HOPELESS = "hopeless"  # its deadline is, or came, nearer than its run is long
    EXPIRED = "expired"  # its deadline passed
    CANCELLED = "cancelled"  # its caller left


class Batcher(Generic[Item, Result]):
    """Groups submitted items into batches for ``run_batch``.

    Must be created and used in one event loop.

    Args:
        run_batch: Computes a batch: one result, or one exception, per item in order.
            When it raises, the batch is retried in halves until the culprit stands alone.
        max_batch_size: Most items in a batch.
        max_delay_s: Longest wait for company while a lane is free.
        queue_limit: Most items that may wait.
        policies: What items of a priority may do, where it is less than the queue's limit.
        lanes: Batches that may run at the same time, or the device's lanes to share.
        cost: What batches take; whoever runs them keeps it current. Nothing is known where it
            is not given.
        smaller: What may be done before refusing an item, in steps, each faster than the one
            before. Whenever an item that waits would not be answered in time without it, all
            batches are run so, until it has been served.
        on_batch: Called after each batch.
        on_drop: Called for each item that does not reach the engine.
    """

    def __init__(
        self,
        run_batch: RunBatch[Item, Result],
        *,
        max_batch_size: int,
        max_delay_s: float = 0.0,
        queue_limit: int = 1024,
        policies: Mapping[int, QueuePolicy] | None = None,
        lanes: int | Lanes = 1,
        cost: CostModel | None = None,
        smaller: Sequence[Smaller[Item, Result]] = (),
        on_batch: Callable[[BatchRecord], None] = lambda _record: None,
        on_drop: Callable[[Drop], None] = lambda _drop: None,
    ) -> None:
        self._whole = Smaller(run_batch, cost or CostModel({}))
        self._ways = (self._whole, *smaller)  # by step
        self._max_batch_size = max_batch_size
        self._queue_limit = queue_limit
        self._policies = policies or {}
        self._cost = self._whole.cost
        self._on_batch = on_batch
        self._on_drop = on_drop
        self._loop = asyncio.get_running_loop()
        costs = [each.cost for each in smaller]
        self._queue: BatchQueue[Item] = BatchQueue(max_batch_size, max_delay_s, self._cost, costs)
        self._futures: dict[Ticket[Item], asyncio.Future[Answer[Result]]] = {}
        self._lanes = lanes if isinstance(lanes, Lanes) else Lanes(lanes)
        self._seat = self._lanes.join(self._dispatch)
        self._running: set[asyncio.Task[None]] = set()
        self._draining = False
        self._dispatch_handle: asyncio.Handle | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def limit_batches(self, max_batch_size: int) -> None:
        """Let batches that close from now on hold at most ``max_batch_size`` items."""
        self._max_batch_size = max_batch_size
        self._queue.limit_batches(max_batch_size)

    def shrink_by(self, smaller: Sequence[Smaller[Item, Result]]) -> None:
        """Let batches from now on be shrunk in these steps."""
        self._ways = (self._whole, *smaller)
        self._queue.shrink_by([each.cost for each in smaller])

    @property
    def depth(self) -> int:
        """How many items wait."""
        return len(self._queue)

    async def submit(
        self, item: Item, *, priority: int = 0, deadline: float = inf, client: str = ""
    ) -> Answer[Result]:
        """Wait for the item's result.

        Cancelling the caller takes the item out of the queue; in the engine already,
        its result is dropped and its neighbours are unharmed.

        Args:
            item: What ``run_batch`` gets.
            priority: 0 is the most urgent.
            deadline: On the event loop's clock, in seconds.
            client: Whose item it is: clients of one priority take turns, each with its most urgent.

        Raises:
            DrainingError: The batcher no longer takes items.
            QueueFullError: Too many items wait, or too many for it to be answered in time.
            DeadlineExpiredError: The deadline passed, or came too near, before a batch took
                the item.
            Exception: Whatever ``run_batch`` gave for this item.
        """
        deadline, step = self._admit(priority, deadline, client)
        now = self._loop.time()
        planned = planned_batch(deadline - now, self._max_batch_size, self._ways[step].cost)
        ticket = Ticket(item, now, priority, deadline, client, step, planned)
        self._enqueue(ticket)
        future = self._futures[ticket]
        expiry = self._loop.call_at(deadline, self._expire, ticket) if deadline < inf else None
        try:
            return await future
        finally:
            if expiry is not None:
                expiry.cancel()
            if self._queue.remove(ticket):
                self._on_drop(Drop.CANCELLED)
            del self._futures[ticket]
            if not self._futures:
                self._idle.set()

    def admit(
        self,
        *,
        priority: int = 0,
        deadline: float = inf,
        client: str = "",
        before: int = 0,
        before_s: float = 0.0,
    ) -> float:
        """Refuse an item that could not be answered in time; nothing is kept of it.

        Args:
            priority: As for `submit`.
            deadline: As for `submit`.
            client: As for `submit`.
            before: Items that are on their way here and will arrive first.
            before_s: Seconds until the item itself could be submitted.

        Returns:
            Its deadline, which its priority may have shortened.

        Raises:
            DrainingError: The batcher no longer takes items.
            QueueFullError: Too many items wait, or too many for it to be answered in time.
            DeadlineExpiredError: The deadline has passed, or is too near even for a free engine.
        """
        return self._admit(priority, deadline, client, before, before_s)[0]

    def _admit(
        self, priority: int, deadline: float, client: str, before: int = 0, before_s: float = 0.0
    ) -> tuple[float, int]:
        """The item's deadline, and how far inputs must shrink for it."""
        now = self._loop.time()
        if self._draining:
            raise DrainingError("the model is shutting down and takes no new requests")
        policy = self._policies.get(priority, _NO_POLICY)
        deadline = min(deadline, now + policy.timeout_s)
        self._refuse_expired(now, deadline)
        self._refuse_beyond_limit(now, priority, policy)
        if deadline == inf or not self._cost.known:
            return deadline, 0
        ahead = self._queue.ahead_of(priority, client, deadline) + before
        starts, end = now + before_s, inf
        for step, way in enumerate(self._ways):
            end = self._predicted_end(starts, ahead, way.cost, deadline)
            if end <= deadline:
                overtaken = self._queue.overtaken_by(priority, client, deadline)
                if self._in_time(now, overtaken, before):
                    return deadline, step
                break
        if self._is_busy(ahead):
            self._on_drop(Drop.TOO_LATE)
            raise QueueFullError(
                f"{ahead} requests are served first, and the deadline is too near for that",
                max(_SOON_S, end - deadline),
            )
        return deadline, 0

    async def drain(self) -> None:
        """Refuse new items and return when all accepted ones are answered."""
        self._draining = True
        self._dispatch()
        await self._idle.wait()
        if self._running:  # batches whose callers have all gone
            await asyncio.wait(self._running)
        self._seat.leave()  # or the lanes, which others share, would hold on to all of this

    def _refuse_expired(self, now: float, deadline: float) -> None:
        if deadline <= now:
            self._on_drop(Drop.EXPIRED)
            raise DeadlineExpiredError("the deadline passed before the request could be queued")
        if now + self._ways[-1].cost.predict(1) > deadline and self._is_busy():
            self._on_drop(Drop.HOPELESS)
            raise DeadlineExpiredError("the deadline is nearer than any answer")

    def _refuse_beyond_limit(self, now: float, priority: int, policy: QueuePolicy) -> None:
        waiting = len(self._queue)
        if waiting >= self._queue_limit or self._queue.waiting_at(priority) >= policy.limit:
            self._on_drop(Drop.QUEUE_FULL)
            end = self._predicted_end(now, waiting, self._ways[-1].cost, inf)
            raise QueueFullError(f"{waiting} requests wait already", max(_SOON_S, end - now))

    def _is_busy(self, ahead: int = 0) -> bool:
        """Whether anything runs or waits.

        Where nothing does, nobody is refused by a prediction: batches that never run could not
        correct it.
        """
        return bool(ahead or self._running or len(self._queue))

    def _enqueue(self, ticket: Ticket[Item]) -> None:
        self._futures[ticket] = self._loop.create_future()
        self._queue.add(ticket)
        self._idle.clear()
        self._dispatch_soon(ticket.enqueued_at)

    def _in_time(self, now: float, overtaken: list[tuple[int, Ticket[Item]]], before: int) -> bool:
        """Whether those keep their deadlines that were let in and would be overtaken."""
        ends: dict[tuple[int, int], list[float]] = {}  # by step and size of batches
        for ahead, ticket in overtaken:
            step = min(ticket.step, len(self._ways) - 1)
            size = self._queue.planned(ticket)
            if (step, size) not in ends:
                last = (overtaken[-1][0] + before) // size
                cost = self._ways[step].cost
                ends[step, size] = predicted_ends(now, last, size, self._lanes.free_at(), cost)
            if ends[step, size][(ahead + before) // size] > ticket.deadline:
                return False
        return True

    def _predicted_end(self, now: float, ahead: int, cost: CostModel, deadline: float) -> float:
        size = planned_batch(deadline - now, self._max_batch_size, cost)
        return predicted_end(now, ahead, size, self._lanes.free_at(), cost)

    def _dispatch_soon(self, when: float) -> None:
        """Dispatch after this turn of the loop, so that what arrives together goes together."""
        if not self._seat.finds_free():
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
        now = self._loop.time()
        for ticket in self._queue.hopeless(now, idle=not self._running):
            self._on_drop(Drop.HOPELESS)
            self._settle(ticket, DeadlineExpiredError("the deadline is nearer than any answer"))
        while len(self._queue) and self._seat.finds_free():
            batch = self._queue.take(now, draining=self._draining)
            if batch is None:
                break
            way = self._ways[batch.step]
            predicted_s = way.cost.predict(len(batch.tickets))
            lane = self._seat.take(now, predicted_s)
            task = self._loop.create_task(self._run(batch, way.run_batch, predicted_s))
            self._running.add(task)
            task.add_done_callback(partial(self._lane_freed, batch, lane))
        due = self._queue.closes_at()
        if due < inf and not self._draining:
            self._dispatch_soon(due)

    def _lane_freed(self, batch: Batch[Item], lane: Lane, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        lane.give_back(self._loop.time())
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

    async def _run(
        self, batch: Batch[Item], run_batch: RunBatch[Item, Result], predicted_s: float
    ) -> None:
        # A cancelled caller takes a turn of the loop to leave the queue, and may be taken then.
        tickets = [ticket for ticket in batch.tickets if self._waiter(ticket) is not None]
        if not tickets:
            return
        started = self._loop.time()
        outcomes = await self._outcomes([ticket.item for ticket in tickets], run_batch)
        run_s = self._loop.time() - started
        size, step = len(tickets), batch.step
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self._settle(ticket, outcome)
            else:
                queue_s = started - ticket.enqueued_at
                answer = Answer(outcome, queue_s, run_s, size, batch.reason, predicted_s, step)
                self._settle(ticket, answer)
        self._on_batch(BatchRecord(size, run_s, batch.reason, predicted_s, step))

    async def _outcomes(
        self, items: Sequence[Item], run_batch: RunBatch[Item, Result]
    ) -> list[Result | Exception]:
        try:
            outcomes = list(await run_batch(items))
            if len(outcomes) != len(items):
                raise RuntimeError(f"{len(items)} items gave {len(outcomes)} outcomes")  # noqa: TRY301
        except Exception as error:
            if len(items) == 1:
                return [error]
            log.warning("a batch of %d failed and is retried in halves", len(items), exc_info=True)
            half = len(items) // 2
            halves = items[:half], items[half:]
            return [one for part in halves for one in await self._outcomes(part, run_batch)]
        return outcomes

    def _expire(self, ticket: Ticket[Item]) -> None:
        # In the engine already: too late to save work, and the answer may still be in time.
        if self._queue.remove(ticket):
            self._on_drop(Drop.EXPIRED)
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
