"""The batching policy, with time as an argument."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.pipeline.queue import BatchQueue, CloseReason, Ticket

sizes = st.integers(1, 6)
delays = st.sampled_from([0.0, 0.5, 2.0])
arrivals = st.lists(
    st.tuples(st.floats(0, 5), st.integers(0, 2), st.sampled_from([inf, 1.0, 3.0])), max_size=30
)


@given(sizes, delays, arrivals, st.floats(0, 10))
def test_a_batch_is_bounded_urgent_first_and_in_order(size, delay, items, wait) -> None:
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
    assert taken == sorted(alive, key=lambda ticket: (ticket.priority, ticket.item))
    assert len(queue) == len(tickets) - len(alive)


@given(sizes, delays, arrivals)
def test_it_closes_when_full_or_when_the_oldest_has_waited(size, delay, items) -> None:
    queue: BatchQueue[int] = BatchQueue(size, delay)
    now = 0.0
    for number, (at, priority, _) in enumerate(sorted(items)):
        now = at
        queue.add(Ticket(number, at, priority))
    if not items:
        assert queue.closes_at() == inf
        assert queue.take(inf) is None
        return
    oldest = min(at for at, _, _ in items)
    full = len(items) >= size
    assert queue.closes_at() == (-inf if full else oldest + delay)
    batch = queue.take(now)
    assert (batch is not None) == (full or now >= oldest + delay)
    if batch is not None:
        waited = CloseReason.DELAY if delay else CloseReason.IDLE
        assert batch.reason is (CloseReason.FULL if full else waited)


def test_a_removed_ticket_is_never_taken() -> None:
    queue: BatchQueue[str] = BatchQueue(4)
    stays, goes = Ticket("stays", 0.0), Ticket("goes", 0.0)
    queue.add(stays)
    queue.add(goes)
    assert queue.remove(goes)
    assert not queue.remove(goes)
    assert goes not in queue
    batch = queue.take(0.0)
    assert batch is not None
    assert batch.tickets == [stays]
    assert len(queue) == 0


@pytest.mark.parametrize(("size", "delay"), [(0, 0.0), (-1, 0.0), (1, -0.1)])
def test_senseless_limits_are_refused(size: int, delay: float) -> None:
    with pytest.raises(ValueError, match="must"):
        BatchQueue(size, delay)
