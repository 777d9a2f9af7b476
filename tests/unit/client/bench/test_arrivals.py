import statistics
from itertools import islice

import pytest

from client.bench.arrivals import constant, poisson


def test_poisson_gaps_are_exponential():
    times = list(islice(poisson(200.0, seed=1), 20_000))
    gaps = [late - early for early, late in zip([0.0, *times], times, strict=False)]
    assert times == sorted(times)
    # An exponential's standard deviation is its mean; its median is ln 2 of it.
    assert statistics.mean(gaps) == pytest.approx(1 / 200, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(1 / 200, rel=0.05)
    assert statistics.median(gaps) == pytest.approx(0.6931 / 200, rel=0.05)


def test_poisson_is_repeatable_and_differs_by_seed():
    first, again, other = (list(islice(poisson(5.0, seed), 10)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_constant_arrivals_of_two_processes_interleave():
    first = list(islice(constant(10.0), 4))
    second = list(islice(constant(10.0, phase=0.5), 4))
    assert first == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert sorted(first + second) == pytest.approx([n / 20 for n in range(8)])
