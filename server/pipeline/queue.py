"""What waits for the engine, and when it becomes a batch: a policy without a loop or a clock.

Time is an argument, so that tests and simulations move it at will. Imports
nothing but the standard library.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from math import inf
from typing import Generic, TypeVar

Item = TypeVar("Item")


class CloseReason(StrEnum):
    """Why a batch stopped waiting for company."""

    FULL = "full"
    IDLE = "idle"
    DELAY = "delay"
    DRAIN = "drain"


@dataclass(frozen=True, eq=False)
class Ticket(Generic[Item]):
    """An item that waits.

    Attributes:
        item: What the engine gets.
        enqueued_at: Seconds on the caller's clock.
        priority: 0 is the most urgent; strict between levels, first in first out within one.
        deadline: Seconds on the caller's clock; after it nobody wants the answer.
    """

    item: Item
    enqueued_at: float
    priority: int = 0
    deadline: float = inf


@dataclass(frozen=True)
class Batch(Generic[Item]):
    """Tickets that go to the engine together.

    Attributes:
        tickets: At least one and at most the maximum batch size; urgent ones first.
        reason: Why it closed.
    """

    tickets: list[Ticket[Item]]
    reason: CloseReason


class BatchQueue(Generic[Item]):
    """Decides which tickets form the next batch, and when.

    A batch closes when it is full, when its oldest ticket has waited
    ``max_delay_s``, or, with no delay configured, as soon as an engine is free.

    Args:
        max_batch_size: Most tickets in a batch.
        max_delay_s: Longest wait for company while an engine is free. 0: never wait.
    """

    def __init__(self, max_batch_size: int, max_delay_s: float = 0.0) -> None:
        if max_batch_size < 1:
            raise ValueError(f"max_batch_size must be at least 1, not {max_batch_size}")
        if max_delay_s < 0:
            raise ValueError(f"max_delay_s must not be negative, not {max_delay_s}")
        self._max_batch_size = max_batch_size
        self._max_delay_s = max_delay_s
        # One level per priority in use, in order of insertion within a level.
        self._levels: dict[int, OrderedDict[Ticket[Item], None]] = {}
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def __contains__(self, ticket: Ticket[Item]) -> bool:
        return ticket in self._levels.get(ticket.priority, ())

    def add(self, ticket: Ticket[Item]) -> None:
        """Let a ticket wait. Tickets come in order of ``enqueued_at``."""
        self._levels.setdefault(ticket.priority, OrderedDict())[ticket] = None
        self._waiting += 1

    def remove(self, ticket: Ticket[Item]) -> bool:
        """Take out a ticket that nobody waits for any more; False when it is not here."""
        level = self._levels.get(ticket.priority)
        if level is None or ticket not in level:
            return False
        del level[ticket]
        if not level:
            del self._levels[ticket.priority]
        self._waiting -= 1
        return True

    def closes_at(self) -> float:
        """When a free engine should take what waits, in clock seconds; inf when nothing does.

        Counts tickets past their deadline until they are removed, so it may be too early.
        """
        if self._waiting == 0:
            return inf
        if self._waiting >= self._max_batch_size:
            return -inf
        # The oldest of a level stands first, so only the heads matter.
        oldest = min(next(iter(level)).enqueued_at for level in self._levels.values())
        return oldest + self._max_delay_s

    def take(self, now: float, *, draining: bool = False) -> Batch[Item] | None:
        """The next batch for a free engine, or None when it is better to wait.

        Tickets past their deadline are not taken; whoever set the deadline removes them.

        Args:
            now: Clock seconds.
            draining: No more tickets will come, so waiting for company is pointless.
        """
        if now < self.closes_at() and not draining:
            return None
        alive = (ticket for ticket in self._by_urgency() if ticket.deadline > now)
        tickets = list(islice(alive, self._max_batch_size))
        reason = self._close_reason(tickets, now, draining=draining)
        if reason is None:
            return None
        for ticket in tickets:
            self.remove(ticket)
        return Batch(tickets, reason)

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
        if now < min(ticket.enqueued_at for ticket in tickets) + self._max_delay_s:
            return None
        return CloseReason.DELAY if self._max_delay_s > 0 else CloseReason.IDLE

    def _by_urgency(self) -> Iterator[Ticket[Item]]:
        for priority in sorted(self._levels):
            yield from self._levels[priority]
