"""What waits for the engine, and when it becomes a batch: a policy without a loop or a clock.

Time is an argument, so that tests and simulations move it at will. Knows
neither gRPC nor torch.
"""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Generic, TypeVar

from server.pipeline.cost import CostModel
from server.pipeline.fair import FairQueue

Item = TypeVar("Item")

_MOST_LEFTOVERS = 64  # deadlines of those who have left, before they are swept out
_FEW = 32  # of so many tickets every size of batches is tried


class CloseReason(StrEnum):
    """Why a batch stopped waiting for company."""

    FULL = "full"
    IDLE = "idle"
    DELAY = "delay"
    DEADLINE = "deadline"
    DRAIN = "drain"


@dataclass(frozen=True, eq=False)
class Ticket(Generic[Item]):
    """An item that waits.

    Attributes:
        item: What the engine gets.
        enqueued_at: Seconds on the caller's clock.
        priority: 0 is the most urgent; strict between levels.
        deadline: Seconds on the caller's clock; after it nobody wants the answer.
        client: Whose it is. Within a level clients take turns; of each one's own the earliest
            deadline goes first, and among equals whichever came first.
        step: How far inputs must shrink for it to be answered in time; 0: not at all.
        planned: How many items are counted on in its batch; inf: as many as it holds.
    """

    item: Item
    enqueued_at: float
    priority: int = 0
    deadline: float = inf
    client: str = ""
    step: int = 0
    planned: float = inf


@dataclass(frozen=True)
class Batch(Generic[Item]):
    """Tickets that go to the engine together.

    Attributes:
        tickets: At least one and at most the maximum batch size; urgent ones first.
        reason: Why it closed.
        step: How far its inputs shrink; 0: not at all.
    """

    tickets: list[Ticket[Item]]
    reason: CloseReason
    step: int = 0


class BatchQueue(Generic[Item]):
    """Decides which tickets form the next batch, and when.

    A batch closes when it is full, when its oldest ticket has waited ``max_delay_s``, or when
    waiting longer would make its most urgent ticket miss its deadline. With no delay
    configured it closes as soon as an engine is free.

    Args:
        max_batch_size: Most tickets in a batch.
        max_delay_s: Longest wait for company while an engine is free. 0: never wait.
        cost: What batches take; nothing is known where it is not given.
        smaller: What batches of smaller inputs take, in steps, each less than the one before.
    """

    def __init__(
        self,
        max_batch_size: int,
        max_delay_s: float = 0.0,
        cost: CostModel | None = None,
        smaller: Sequence[CostModel] = (),
    ) -> None:
        if max_delay_s < 0:
            raise ValueError(f"max_delay_s must not be negative, not {max_delay_s}")
        self.limit_batches(max_batch_size)
        self._max_delay_s = max_delay_s
        self._full_cost = cost or CostModel({})
        self._needing: Counter[int] = Counter()  # those that wait, by step
        self._hurried: Counter[int] = Counter()  # those that wait with a deadline, by priority
        self.shrink_by(smaller)
        self._levels: dict[int, FairQueue[Ticket[Item]]] = {}  # those in use, by priority
        self._waiting: OrderedDict[Ticket[Item], None] = OrderedDict()  # the oldest first
        # Those with a deadline; who has left is dropped when it comes to the top.
        self._deadlines: list[tuple[float, int, Ticket[Item]]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._waiting)

    def shrink_by(self, smaller: Sequence[CostModel]) -> None:
        """Let inputs from now on shrink by these steps; fewer than before serve as well."""
        self._costs = (self._full_cost, *smaller)

    @property
    def step(self) -> int:
        """How far inputs shrink now: as far as any of those that wait needs, and no further."""
        return min(max(self._needing, default=0), len(self._costs) - 1)

    @property
    def _cost(self) -> CostModel:
        return self._costs[self.step]

    def limit_batches(self, max_batch_size: int) -> None:
        """Let batches from now on hold at most ``max_batch_size`` tickets."""
        if max_batch_size < 1:
            raise ValueError(f"max_batch_size must be at least 1, not {max_batch_size}")
        self._max_batch_size = max_batch_size

    def __contains__(self, ticket: Ticket[Item]) -> bool:
        return ticket in self._waiting

    def add(self, ticket: Ticket[Item]) -> None:
        """Let a ticket wait. Tickets come in order of ``enqueued_at``."""
        self._levels.setdefault(ticket.priority, FairQueue()).add(
            ticket, ticket.client, ticket.deadline
        )
        self._waiting[ticket] = None
        self._needing[ticket.step] += 1
        if ticket.deadline < inf:
            self._hurried[ticket.priority] += 1
            heappush(self._deadlines, (ticket.deadline, next(self._order), ticket))
            self._sweep()

    def remove(self, ticket: Ticket[Item]) -> bool:
        """Take out a ticket that nobody waits for any more; False when it is not here."""
        if ticket not in self._waiting:
            return False
        self._forget(ticket)
        level = self._levels[ticket.priority]
        level.remove(ticket)
        if not level:
            del self._levels[ticket.priority]
        return True

    def waiting_at(self, priority: int) -> int:
        """How many tickets of a priority wait."""
        level = self._levels.get(priority)
        return 0 if level is None else len(level)

    def planned(self, ticket: Ticket[Item]) -> int:
        """How many tickets are counted on in the batch of one, where batches hold what they do."""
        return int(min(ticket.planned, self._max_batch_size))

    def ahead_of(self, priority: int, client: str, deadline: float = inf) -> int:
        """How many of those that wait would be served before a new ticket."""
        level = self._levels.get(priority)
        own = 0 if level is None else level.ahead_of(client, deadline)
        return own + self._more_urgent(priority)

    def overtaken_by(
        self, priority: int, client: str, deadline: float
    ) -> list[tuple[int, Ticket[Item]]]:
        """The tickets of the same client and priority that would be served after a new one.

        Returns:
            Each with how many would then be served before it, in their order.
        """
        level = self._levels.get(priority)
        if level is None:
            return []
        before = self._more_urgent(priority)
        overtaken = level.overtaken_by(client, deadline)
        return [(before + ahead, ticket) for ahead, ticket in overtaken]

    def _more_urgent(self, priority: int) -> int:
        return sum(len(level) for urgency, level in self._levels.items() if urgency < priority)

    def hopeless(self, now: float, *, idle: bool = False) -> list[Ticket[Item]]:
        """Take out the tickets that would miss their deadline even if they ran at once.

        Alone, that is; while more are in a hurry than its batch was planned for, in one of that
        size: who goes first for its own sake alone makes those behind it late.

        Args:
            now: Clock seconds.
            idle: Nothing runs. Then one stays, whatever is predicted: batches that never run could
                not correct it.
        """
        least = self._costs[-1]
        if not least.known:
            return []
        lost = []
        while (ticket := self._most_pressed()) is not None:
            planned = self.planned(ticket)
            size = planned if self._in_a_hurry(ticket.priority) > planned else 1
            # Without a margin: nobody is given up too early.
            if ticket.deadline >= now + least.predict(size) or (idle and len(self._waiting) == 1):
                break
            self.remove(ticket)
            lost.append(ticket)
        return lost

    def closes_at(self) -> float:
        """When a free engine should take what waits, in clock seconds; inf when nothing does.

        Counts tickets past their deadline until they are removed, so it may be too early.
        """
        if not self._waiting:
            return inf
        if len(self._waiting) >= self._max_batch_size:
            return -inf
        oldest = next(iter(self._waiting))
        last_moment = self._last_moment(self._earliest_deadline(), len(self._waiting))
        return min(oldest.enqueued_at + self._max_delay_s, last_moment)

    def take(self, now: float, *, draining: bool = False) -> Batch[Item] | None:
        """The next batch for a free engine, or None when it is better to wait.

        Tickets past their deadline are not taken; whoever set the deadline removes them.

        Args:
            now: Clock seconds.
            draining: No more tickets will come, so waiting for company is pointless.
        """
        if now < self.closes_at() and not draining:
            return None
        tickets = self._in_turn(now)
        reason = self._close_reason(tickets, now, draining=draining)
        if reason is None:
            return None
        chosen = tickets[: self._size_in_time(tickets, now)]
        step = self._step_in_time(chosen, now)
        for ticket in chosen:
            self._levels[ticket.priority].serve(ticket)
            self._forget(ticket)
        self._levels = {priority: level for priority, level in self._levels.items() if level}
        whole = len(chosen) == len(tickets)
        return Batch(chosen, reason if whole else CloseReason.DEADLINE, step)

    def _forget(self, ticket: Ticket[Item]) -> None:
        del self._waiting[ticket]
        _take_one(self._needing, ticket.step)
        if ticket.deadline < inf:
            _take_one(self._hurried, ticket.priority)

    def _in_turn(self, now: float) -> list[Ticket[Item]]:
        """As many living tickets as fit into a batch, urgent ones first."""
        tickets: list[Ticket[Item]] = []
        for priority in sorted(self._levels):
            room = self._max_batch_size - len(tickets)
            if room == 0:
                break
            tickets += self._levels[priority].in_turn(room, lambda ticket: ticket.deadline > now)
        return tickets

    def _close_reason(
        self, tickets: list[Ticket[Item]], now: float, *, draining: bool
    ) -> CloseReason | None:
        """Why these, as many living ones as fit, go now; None when they better wait."""
        if len(tickets) == self._max_batch_size:
            return CloseReason.FULL
        if not tickets:
            return None
        if draining:
            return CloseReason.DRAIN
        # The expired do not count: they neither fill a batch nor make it late.
        if now >= min(ticket.enqueued_at for ticket in tickets) + self._max_delay_s:
            return CloseReason.DELAY if self._max_delay_s > 0 else CloseReason.IDLE
        urgent = min(ticket.deadline for ticket in tickets)
        return CloseReason.DEADLINE if now >= self._last_moment(urgent, len(tickets)) else None

    def _size_in_time(self, tickets: list[Ticket[Item]], now: float) -> int:
        """How many of ``tickets`` run together.

        All of them, if that makes nobody late. Else, while more are in a hurry than were planned
        for one batch, as many as that or as are sure to be in time: smaller batches would only make
        those behind them late. Else the number with which most are in time, one batch after the
        other, and the largest such number.
        """
        size = len(tickets)
        if not self._cost.known or self._surely_in_time(tickets, now) == size:
            return size
        # Who would be late even alone decides nothing.
        alone = now + self._cost.predict(1)
        firm = [ticket for ticket in tickets if ticket.deadline >= alone]
        planned = min([size, *(self.planned(ticket) for ticket in firm)])
        if self._in_a_hurry(max(ticket.priority for ticket in tickets)) > planned:
            return max(planned, self._surely_in_time(firm, now))
        return max(_sizes(size), key=lambda fewer: self._kept(tickets, fewer, now))

    def _in_a_hurry(self, priority: int) -> int:
        """How many wait with a deadline that are as urgent as ``priority`` or more."""
        return sum(count for urgency, count in self._hurried.items() if urgency <= priority)

    def _surely_in_time(self, tickets: list[Ticket[Item]], now: float) -> int:
        """How many of the first ``tickets``, at most, are in time in one batch, with a margin."""
        urgent = inf
        for size, ticket in enumerate(tickets, 1):
            urgent = min(urgent, ticket.deadline)
            if now > self._last_moment(urgent, size):
                return size - 1
        return len(tickets)

    def _kept(self, tickets: list[Ticket[Item]], size: int, now: float) -> tuple[int, int]:
        """How many of ``tickets`` are in time in batches of ``size``, one after the other.

        Returns:
            As predicted, and with a margin.
        """
        kept, surely, start = 0, 0, now
        for first in range(0, len(tickets), size):
            batch = tickets[first : first + size]
            end = start + self._cost.predict(len(batch))
            bound = start + self._cost.bound(len(batch))
            kept += sum(end <= ticket.deadline for ticket in batch)
            surely += sum(bound <= ticket.deadline for ticket in batch)
            start = end
        return kept, surely

    def _step_in_time(self, tickets: list[Ticket[Item]], now: float) -> int:
        """How far these must shrink: further than those that wait need where that saves one.

        The engine may have become slower since they came.
        """
        least = self.step
        steps = range(least, len(self._costs))
        return next((s for s in steps if self._in_time(tickets, now, self._costs[s])), least)

    def _in_time(
        self, tickets: list[Ticket[Item]], start: float, cost: CostModel | None = None
    ) -> bool:
        end = start + (cost or self._cost).predict(len(tickets))
        return all(end <= ticket.deadline for ticket in tickets)

    def _last_moment(self, deadline: float, size: int) -> float:
        """When a batch of ``size`` must start to end by ``deadline``; inf: it cannot be told."""
        return deadline - self._cost.bound(size) if self._cost.known else inf

    def _sweep(self) -> None:
        """Forget the deadlines of those who have left, which may lie far ahead."""
        if len(self._deadlines) > 2 * len(self._waiting) + _MOST_LEFTOVERS:
            self._deadlines = [entry for entry in self._deadlines if entry[2] in self._waiting]
            heapify(self._deadlines)

    def _earliest_deadline(self) -> float:
        pressed = self._most_pressed()
        return inf if pressed is None else pressed.deadline

    def _most_pressed(self) -> Ticket[Item] | None:
        """The one that waits with the earliest deadline, if any has one."""
        while self._deadlines and self._deadlines[0][2] not in self._waiting:
            heappop(self._deadlines)
        return self._deadlines[0][2] if self._deadlines else None


def _take_one(counts: Counter[int], key: int) -> None:
    counts[key] -= 1
    if counts[key] == 0:
        del counts[key]


def _sizes(most: int) -> Sequence[int]:
    """Sizes of batches to try for ``most`` tickets, the largest first."""
    if most <= _FEW:
        return range(most, 0, -1)
    # Those that share them out evenly: about twice the root of so many.
    return sorted({-(-most // parts) for parts in range(1, most + 1)}, reverse=True)
