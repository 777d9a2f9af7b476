import pickle

import pytest

from client.bench.sender import Answer
from client.bench.tally import Tally


def tally(*answers, deadline_s=None, latency_s=0.1, seconds=2.0):
    counted = Tally(seconds=seconds, sent=len(answers))
    for answer in answers:
        counted.count(answer, latency_s, deadline_s)
    return counted


def test_rates_and_statuses():
    counted = tally(Answer("OK", 4), Answer("OK", 4), Answer("UNAVAILABLE"))
    assert counted.statuses == {"OK": 2, "UNAVAILABLE": 1}
    assert (counted.requests, counted.in_time) == (3, 2)
    assert (counted.answered_per_s, counted.goodput_per_s) == (1.0, 1.0)
    assert (len(counted.answered), len(counted.failed)) == (2, 1)


def test_refusals_are_told_from_other_failures():
    total = tally(Answer("UNAVAILABLE"), latency_s=0.01)
    total.add(tally(Answer("DEADLINE_EXCEEDED"), Answer("UNAVAILABLE"), latency_s=0.5))
    assert (len(total.failed), len(total.refused)) == (3, 2)
    assert total.refused.max_s == pytest.approx(0.5, rel=1e-3)


def test_what_comes_late_is_answered_and_no_goodput():
    counted = tally(Answer("OK"), deadline_s=0.05)
    assert (counted.answered_per_s, counted.goodput_per_s) == (0.5, 0.0)


def test_the_mean_batch_is_that_of_the_batches_not_of_the_images():
    counted = tally(Answer("OK", 1), *[Answer("OK", 3)] * 3)
    assert counted.mean_batch == pytest.approx(2.0)  # a batch of 1 and one of 3
    assert tally(Answer("OK")).mean_batch == 0.0


def test_nothing_measured():
    assert (Tally().answered_per_s, Tally().goodput_per_s) == (0.0, 0.0)


def test_tallies_of_processes_add_up():
    total = Tally()
    for part in (
        tally(Answer("OK"), seconds=2.0),
        tally(Answer("OK", 2), Answer("UNAVAILABLE"), seconds=2.1),
    ):
        part.warm_up, part.after, part.unfinished = 5, 6, 7
        total.add(pickle.loads(pickle.dumps(part)))  # noqa: S301 (our own)
    assert total.statuses == {"OK": 2, "UNAVAILABLE": 1}
    assert (total.sent, total.warm_up, total.after, total.unfinished) == (3, 10, 12, 14)
    assert (total.seconds, len(total.answered), len(total.failed)) == (2.1, 2, 1)
    assert total.mean_batch == 2.0
