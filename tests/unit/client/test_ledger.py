"""The ledger on a simulated clock."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import ClientError, DeadlineExceededError, InternalError, Outcome
from client.retry import RetryThrottle
from client.streaming import (
    Departed,
    Ended,
    Fed,
    Ledger,
    Overdue,
    Refused,
    StreamPlan,
    retry_delay_s,
)
from proto.classify.v1 import classify_pb2

PLAN = StreamPlan(classify_pb2.ClassifyRequest(), "here:1", 8, ordered=True, timeout_s=10.0)
FOREVER = StreamPlan(classify_pb2.ClassifyRequest(), "here:1", 8, ordered=False, timeout_s=None)


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def new_ledger(plan=PLAN):
    clock = Clock()
    return Ledger(plan, 0, clock), clock


def ticket(sequence):
    return PLAN.ticket(sequence, sequence, b"image")


def depart(ledger, clock, sequence):
    assert ledger.apply(Departed(ticket(sequence), clock.now_s)) == []
    return ticket(sequence)


@given(st.permutations(range(8)), st.sets(st.integers(0, 7)))
def test_ordered_outcomes_leave_in_order_however_they_land(landing, refused):
    ledger, clock = new_ledger()
    for sequence in range(8):
        if sequence not in refused:
            depart(ledger, clock, sequence)
    left = []
    for sequence in landing:
        if sequence in refused:
            left += ledger.apply(Refused(ticket(sequence), ClientError("unreadable")))
        else:
            taken = ledger.take(ticket(sequence).request_id)
            left += ledger.settle(taken.ticket, Outcome(taken.ticket.key))
    assert [outcome.key for outcome in left] == list(range(8))


def test_an_answer_is_taken_once():
    ledger, clock = new_ledger()
    first = depart(ledger, clock, 0)
    assert ledger.take(first.request_id).ticket == first
    assert ledger.take(first.request_id) is None
    assert ledger.take("stranger") is None


def test_patience_is_that_of_the_oldest():
    ledger, clock = new_ledger()
    assert ledger.patience_s() is None
    depart(ledger, clock, 0)
    clock.now_s += 4
    depart(ledger, clock, 1)
    assert ledger.patience_s() == 6
    ledger.take(ticket(0).request_id)
    assert ledger.patience_s() == 10
    clock.now_s += 11
    assert ledger.patience_s() == 0


def test_without_a_timeout_patience_has_no_end():
    ledger, clock = new_ledger(FOREVER)
    depart(ledger, clock, 0)
    assert ledger.patience_s() is None


def test_silence_ends_the_stream_and_one_lost_answer_does_not():
    ledger, clock = new_ledger()
    depart(ledger, clock, 0)
    clock.now_s += 1
    depart(ledger, clock, 1)
    ledger.settle(ledger.take(ticket(1).request_id).ticket, Outcome(1))
    clock.now_s += 9
    lost, found = ledger.apply(Overdue())
    assert isinstance(lost.error, DeadlineExceededError)
    assert (lost.key, found.key) == (0, 1)
    depart(ledger, clock, 2)
    clock.now_s += 10
    with pytest.raises(DeadlineExceededError, match="within 10 s"):
        ledger.apply(Overdue())


def test_the_end():
    ledger, clock = new_ledger()
    with pytest.raises(InternalError, match="closed the stream"):
        ledger.apply(Ended())
    depart(ledger, clock, 0)
    ledger.apply(Fed())
    with pytest.raises(InternalError, match="closed the stream"):
        ledger.apply(Ended())
    with pytest.raises(LookupError):
        ledger.apply(Ended(LookupError()))
    ledger.take(ticket(0).request_id)
    assert not ledger.finished
    ledger.apply(Ended())
    assert ledger.finished


def test_a_server_that_does_not_say_goodbye_is_left():
    ledger, _ = new_ledger()
    ledger.apply(Fed())
    assert ledger.patience_s() == pytest.approx(2.0)
    assert ledger.apply(Overdue()) == []
    assert ledger.finished


@pytest.mark.parametrize(
    ("code", "retry_after_s", "timeout_s", "delay_s"),
    [
        ("UNAVAILABLE", 1.0, 10.0, 1.0),
        ("UNAVAILABLE", 1.0, None, 1.0),
        ("UNAVAILABLE", None, 10.0, None),
        ("UNAVAILABLE", 3600.0, None, None),
        ("UNAVAILABLE", 3.0, 2.0, None),
        ("RESOURCE_EXHAUSTED", 1.0, 10.0, None),
    ],
)
def test_when_an_item_is_sent_again(code, retry_after_s, timeout_s, delay_s):
    error = ClientError("no room", code=code)
    error.retry_after_s = retry_after_s
    plan = replace(PLAN, timeout_s=timeout_s, throttle=RetryThrottle())
    assert retry_delay_s(error, plan) == delay_s
