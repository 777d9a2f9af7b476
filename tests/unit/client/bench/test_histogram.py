import pickle
import random

import pytest
from hdrh.histogram import HdrHistogram

from client.bench.histogram import Histogram


def test_percentiles_are_those_of_the_sorted_latencies():
    chance = random.Random(3)
    latencies = [chance.lognormvariate(-4, 1) for _ in range(5_000)]
    histogram = Histogram()
    for latency in latencies:
        histogram.record(latency)
    latencies.sort()
    for percent in (50, 90, 99, 99.9):
        exact = latencies[round(percent / 100 * len(latencies)) - 1]
        assert histogram.percentile_s(percent) == pytest.approx(exact, rel=2e-3)
    assert histogram.max_s == pytest.approx(latencies[-1], rel=2e-3)
    assert histogram.mean_s == pytest.approx(sum(latencies) / len(latencies), rel=2e-3)
    assert len(histogram) == sum(count for _, count in histogram.counts()) == 5_000


def test_an_empty_one_says_zero():
    empty = Histogram()
    assert (len(empty), empty.percentile_s(99), empty.mean_s, empty.max_s) == (0, 0, 0, 0)
    assert list(empty.counts()) == []


def test_extremes_are_kept_at_the_bounds():
    histogram = Histogram()
    histogram.record(-1e-3)
    histogram.record(1e6, count=3)
    assert len(histogram) == 4
    assert histogram.percentile_s(0) == pytest.approx(1e-6)
    assert histogram.max_s == pytest.approx(3600, rel=2e-3)


def test_it_merges_across_processes():
    one, other = Histogram(), Histogram()
    one.record(0.010, count=3)
    other.record(0.500)
    one.add(pickle.loads(pickle.dumps(other)))  # noqa: S301 (our own)
    one.add(pickle.loads(pickle.dumps(Histogram())))  # noqa: S301
    assert len(one) == 4
    assert one.percentile_s(75) == pytest.approx(0.010, rel=2e-3)
    assert one.max_s == pytest.approx(0.500, rel=2e-3)


def test_the_encoded_form_is_the_libraries_own():
    histogram = Histogram()
    histogram.record(0.25)
    decoded = HdrHistogram.decode(histogram.encoded())
    assert decoded.get_total_count() == 1
    assert decoded.get_value_at_percentile(50) == pytest.approx(250_000, rel=2e-3)
