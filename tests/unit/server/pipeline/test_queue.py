"""The batching policy, with time as an argument, against a model that sorts a list."""

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from server.pipeline.cost import CostModel
from server.pipeline.queue import Batch, BatchQueue, CloseReason, Ticket

# Multiples of a power of two add up exactly.
instants = st.integers(0, 40).map(lambda eighths: eighths / 8)
delays = st.sampled_from([0.0, 0.5, 2.0])
sizes = st.integers(1, 6)
priorities = st.integers(0, 3)
patience = st.one_of(st.just(inf), instants)


def turn(ticket: Ticket[int]) -> tuple[int, float, int]:
    """Of one client's tickets."""
    return ticket.priority, ticket.deadline, ticket.item


class QueueAgainstModel(RuleBasedStateMachine):
    """Any order of calls, the clock never going back."""

    tickets: Bundle[Ticket[int]] = Bundle("tickets")

    @initialize(size=sizes, delay=delays)
    def create(self, size: int, delay: float) -> None:
        self.queue: BatchQueue[int] = BatchQueue(size, delay)
        self.size = size
        self.delay = delay
        self.now = 0.0
        self.waiting: list[Ticket[int]] = []
        self.gone: list[Ticket[int]] = []
        self.added = 0

    @rule(target=tickets, priority=priorities, patience=patience)
    def add(self, priority: int, patience: float) -> Ticket[int]:
        ticket = Ticket(self.added, self.now, priority, self.now + patience)
        self.added += 1
        self.queue.add(ticket)
        self.waiting.append(ticket)
        return ticket

    @rule(ticket=tickets)
    def remove(self, ticket: Ticket[int]) -> None:
        assert self.queue.remove(ticket) == (ticket in self.waiting)
        self.leave([ticket] if ticket in self.waiting else [])

    @rule(seconds=instants)
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @rule(draining=st.sampled_from([False, False, True]))
    def take(self, draining: bool) -> None:
        expected = self.expected_batch(draining=draining)
        batch = self.queue.take(self.now, draining=draining)
        assert batch == expected
        self.leave(batch.tickets if batch is not None else [])

    @rule()
    def take_when_it_closes(self) -> None:
        """What ``closes_at`` promises holds: at that time there is a batch, if anyone lives."""
        self.now = max(self.now, self.queue.closes_at()) if self.waiting else self.now
        batch = self.queue.take(self.now)
        living = self.living()
        if len(living) == len(self.waiting) > 0:
            assert batch is not None
        self.leave(batch.tickets if batch is not None else [])

    @invariant()
    def it_knows_who_waits(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert all(ticket in self.queue for ticket in self.waiting)
        assert not any(ticket in self.queue for ticket in self.gone)

    @invariant()
    def it_closes_when_full_or_when_the_oldest_has_waited(self) -> None:
        assert self.queue.closes_at() == self.expected_close(self.waiting)
        # Those past their deadline may wake the caller early, never late.
        assert self.queue.closes_at() <= self.expected_close(self.living())

    def living(self) -> list[Ticket[int]]:
        return [ticket for ticket in self.waiting if ticket.deadline > self.now]

    def leave(self, tickets: list[Ticket[int]]) -> None:
        self.waiting = [ticket for ticket in self.waiting if ticket not in tickets]
        self.gone += tickets

    def expected_close(self, tickets: list[Ticket[int]]) -> float:
        if len(tickets) >= self.size:
            return -inf
        return min((ticket.enqueued_at for ticket in tickets), default=inf) + self.delay

    def expected_batch(self, *, draining: bool) -> Batch[int] | None:
        living = self.living()
        if not living or (self.now < self.expected_close(living) and not draining):
            return None
        waited = CloseReason.DELAY if self.delay else CloseReason.IDLE
        reason = CloseReason.DRAIN if draining else waited
        in_order = sorted(living, key=turn)
        return Batch(
            in_order[: self.size], CloseReason.FULL if len(living) >= self.size else reason
        )


TestQueueAgainstModel = QueueAgainstModel.TestCase
TestQueueAgainstModel.settings = settings(max_examples=150, stateful_step_count=40)


@given(sizes, delays, st.lists(st.tuples(instants, priorities, patience), max_size=30), instants)
def test_draining_takes_everyone_alive_once_urgent_first_and_in_order(
    size: int, delay: float, items: list[tuple[float, int, float]], wait: float
) -> None:
    queue: BatchQueue[int] = BatchQueue(size, delay)
    tickets = [
        Ticket(number, at, priority, at + patience)
        for number, (at, priority, patience) in enumerate(sorted(items))
    ]
    for ticket in tickets:
        queue.add(ticket)
    now = max((ticket.enqueued_at for ticket in tickets), default=0.0) + wait
    taken = []
    while (batch := queue.take(now, draining=True)) is not None:
        assert 1 <= len(batch.tickets) <= size
        taken += batch.tickets
    alive = [ticket for ticket in tickets if ticket.deadline > now]
    assert taken == sorted(alive, key=turn)
    assert len(queue) == len(tickets) - len(alive)


def test_an_empty_queue_never_closes() -> None:
    queue: BatchQueue[int] = BatchQueue(1)
    assert queue.closes_at() == inf
    assert queue.take(1e9) is None
    assert queue.take(0.0, draining=True) is None


def test_equal_items_are_different_tickets() -> None:
    queue: BatchQueue[str] = BatchQueue(4)
    stays, goes = Ticket("same", 0.0), Ticket("same", 0.0)
    queue.add(stays)
    queue.add(goes)
    assert queue.remove(goes)
    assert goes not in queue
    assert queue.take(0.0) == Batch([stays], CloseReason.IDLE)


def test_a_deadline_that_is_now_has_passed() -> None:
    queue: BatchQueue[str] = BatchQueue(4)
    queue.add(Ticket("late", 0.0, deadline=1.0))
    assert queue.take(1.0) is None
    assert len(queue) == 1


def test_the_expired_do_not_fill_a_batch() -> None:
    queue: BatchQueue[str] = BatchQueue(2, max_delay_s=5.0)
    queue.add(Ticket("late", 0.0, deadline=1.0))
    alive = Ticket("alive", 2.0)
    queue.add(alive)
    assert queue.take(2.0) is None
    assert queue.take(7.0) == Batch([alive], CloseReason.DELAY)


@pytest.mark.parametrize(("size", "delay"), [(0, 0.0), (-1, 0.0), (1, -0.1), (0, -1.0)])
def test_senseless_limits_are_refused(size: int, delay: float) -> None:
    with pytest.raises(ValueError, match="must"):
        BatchQueue(size, delay)


COST = CostModel({1: 1.0, 2: 1.5, 8: 4.5})


def queue_of(*deadlines: float, size: int = 8, delay: float = 100.0) -> BatchQueue[int]:
    queue: BatchQueue[int] = BatchQueue(size, delay, COST)
    for item, deadline in enumerate(deadlines):
        queue.add(Ticket(item, 0.0, deadline=deadline))
    return queue


def items_of(batch: Batch[int] | None) -> list[int]:
    return [] if batch is None else [ticket.item for ticket in batch.tickets]


def test_a_batch_closes_before_its_most_urgent_ticket_is_late() -> None:
    queue = queue_of(inf, 20.0, 30.0)
    closes_at = 20.0 - COST.bound(3)
    assert queue.closes_at() == closes_at
    assert queue.take(closes_at - 0.1) is None
    batch = queue.take(closes_at)
    assert items_of(batch) == [1, 2, 0]
    assert batch is not None
    assert batch.reason is CloseReason.DEADLINE


def test_the_urgent_go_first_and_alone_where_that_saves_them_and_the_others() -> None:
    batch = (queue := queue_of(1.4, inf, inf, delay=0.0)).take(0.0)
    assert items_of(batch) == [0]
    assert batch is not None
    assert batch.reason is CloseReason.DEADLINE
    assert items_of(queue.take(1.0)) == [1, 2]
    # Several small batches, if that saves more ...
    assert items_of(queue_of(1.4, 2.4, inf, delay=0.0).take(0.0)) == [0]
    # ... but not at the price of more others' deadlines ...
    assert items_of(queue_of(1.4, 2.6, 2.6, 2.6, delay=0.0).take(0.0)) == [0, 1, 2, 3]
    # ... nor for who is lost anyway, nor while more are in a hurry than one batch holds.
    assert items_of(queue_of(0.9, inf, delay=0.0).take(0.0)) == [0, 1]
    assert items_of(queue_of(1.4, 9.0, 9.0, size=2, delay=0.0).take(0.0)) == [0, 1]
    assert items_of(queue_of(1.4, inf, inf, size=2, delay=0.0).take(0.0)) == [0]


def test_no_batch_is_smaller_than_was_planned_while_others_wait_behind_it() -> None:
    queue: BatchQueue[int] = BatchQueue(8, 0.0, COST)
    for item in range(12):
        queue.add(Ticket(item, 0.0, deadline=2.0 if item else 1.0, planned=3))
    assert items_of(queue.take(0.0)) == [0, 1, 2]  # alone the first would be in time, too
    assert items_of(queue.take(0.0)) == [3, 4, 5]


def test_who_cannot_make_it_even_alone_is_hopeless() -> None:
    queue = queue_of(5.0, inf, 3.0, 9.0)
    assert queue.hopeless(2.0) == []
    assert [ticket.item for ticket in queue.hopeless(4.5)] == [2, 0]
    assert len(queue) == 2
    assert items_of(queue.take(8.0)) == [3]  # alone it is in time


def test_in_a_crowd_who_cannot_make_it_in_a_batch_as_planned_is_hopeless() -> None:
    queue: BatchQueue[int] = BatchQueue(8, 0.0, COST)
    for item in range(4):
        queue.add(Ticket(item, 0.0, deadline=5.0 if item else 3.0, planned=3))
    # A batch of three takes 2: the first could go alone, and would make the others wait.
    assert [ticket.item for ticket in queue.hopeless(1.5)] == [0]
    assert queue.hopeless(1.5) == []


def test_who_is_not_in_a_hurry_or_less_urgent_makes_no_crowd() -> None:
    queue: BatchQueue[int] = BatchQueue(8, 0.0, COST)
    queue.add(Ticket(0, 0.0, deadline=5.0, planned=3))
    for item, deadline in enumerate((inf, inf, 90.0, 90.0), 1):
        queue.add(Ticket(item, 0.0, priority=1 if deadline < inf else 0, deadline=deadline))
    assert queue.hopeless(3.5) == []
    assert items_of(queue.take(3.9)) == [0]  # alone it is in time


def test_an_idle_engine_is_left_one_to_try_and_no_more() -> None:
    queue = queue_of(1.0, 1.1, 1.2)
    assert [ticket.item for ticket in queue.hopeless(0.9, idle=True)] == [0, 1]
    assert items_of(queue.take(0.9, draining=True)) == [2]


def test_many_tickets_are_shared_out_without_trying_every_size() -> None:
    queue = queue_of(*[30.0] * 100, size=200, delay=0.0)  # all together take 56.25
    size = len(items_of(queue.take(0.0)))
    in_time = size * int(30.0 / COST.predict(size))
    assert in_time >= 50  # what one batch could keep at most


def test_it_counts_who_is_served_before_a_new_ticket() -> None:
    queue: BatchQueue[int] = BatchQueue(4)
    for item, (priority, client) in enumerate([(0, "a"), (1, "a"), (1, "a"), (1, "b"), (2, "a")]):
        queue.add(Ticket(item, 0.0, priority, client=client))
    assert queue.ahead_of(0, "z") == 1
    assert queue.ahead_of(1, "a") == 1 + 2 + 1
    assert queue.ahead_of(1, "z") == 1 + 1 + 1
    assert queue.waiting_at(1) == 3
    assert queue.waiting_at(7) == 0


def test_who_was_served_long_before_the_deadline_is_forgotten() -> None:
    queue: BatchQueue[int] = BatchQueue(4, cost=COST)
    queue.add(Ticket(-1, 0.0, priority=9, deadline=1e6))
    for item in range(2000):
        queue.add(Ticket(item, float(item), deadline=1e6 + item))
        if item % 4 == 3:
            assert len(items_of(queue.take(float(item)))) == 4
    assert len(queue) <= 4
    assert len(queue._deadlines) < 200
