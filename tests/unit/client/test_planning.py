from dataclasses import replace
from math import inf

import pytest
from scipy.stats import poisson

from client.planning import (
    BUSIEST,
    PlanError,
    batch_seconds,
    load_of,
    most_per_s,
    plan,
    poisson_quantile,
)
from client.results import Capacity

# Two lanes, 10 ms and 2 ms more for each image: at most 2 x 16 / 40 ms = 800 a second.
SERVER = Capacity({1: 0.010, 16: 0.040}, 2, 16, "cuda", 0.0, 4)


@pytest.mark.parametrize("mean", [0.01, 0.5, 3.7, 40.0, 499.0, 2000.0])
def test_poisson_quantiles_are_those_of_scipy(mean: float) -> None:
    assert poisson_quantile(mean, 0.99) == pytest.approx(poisson.ppf(0.99, mean), abs=1)
    assert poisson_quantile(0.0, 0.99) == 0


def test_batches_between_measured_sizes_lie_on_a_line() -> None:
    assert batch_seconds(SERVER.batch_seconds, 1) == 0.010
    assert batch_seconds(SERVER.batch_seconds, 6) == pytest.approx(0.020)
    assert batch_seconds(SERVER.batch_seconds, 32) == pytest.approx(0.080)


def test_what_a_replica_can_do_counts_its_decoders() -> None:
    assert most_per_s(SERVER) == pytest.approx(800)
    slow = replace(SERVER, decode_s=0.008)  # 500 a second
    assert most_per_s(slow) == pytest.approx(500)
    assert most_per_s(replace(slow, device="cpu")) == pytest.approx(1 / (1 / 800 + 1 / 500))


def test_the_fewest_replicas_that_hold_are_planned() -> None:
    for rate, target in ((100, 0.05), (1000, 0.08), (5000, 0.2), (5000, 0.05)):
        found = plan(SERVER, rate, target)
        assert found.load == load_of(SERVER, rate / found.replicas)
        assert found.load.p99_s <= target
        assert found.load.busy <= BUSIEST
        if found.replicas > 1:
            fewer = load_of(SERVER, rate / (found.replicas - 1))
            assert fewer.p99_s > target or fewer.busy > BUSIEST
            assert found.without_one is None


def test_more_load_takes_more_time_and_a_stricter_target_more_replicas() -> None:
    waits = [load_of(SERVER, rate).p99_s for rate in (0, 100, 300, 500, 640, 720)]
    assert waits == sorted(waits)
    assert waits[0] == pytest.approx(1.25 * 0.010)
    counts = [plan(SERVER, 2000, target).replicas for target in (0.3, 0.1, 0.05, 0.03)]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0] == 4  # 2000 / (0.8 x 800), rounded up


def test_one_may_be_missing_where_the_rest_still_hold() -> None:
    found = plan(SERVER, 641, 0.3)  # one more than one replica may do
    assert found.replicas == 2
    assert found.without_one is None
    assert plan(SERVER, 1, 1.0).replicas == 1
    assert plan(SERVER, 1, 1.0).without_one is None


def test_what_no_number_of_replicas_can_do_is_told() -> None:
    with pytest.raises(PlanError, match=r"one image alone may take 12\.5 ms"):
        plan(SERVER, 10, 0.012)
    with pytest.raises(PlanError, match="has not measured"):
        plan(replace(SERVER, batch_seconds={}), 10, 1.0)


def test_beyond_its_limit_nothing_holds() -> None:
    assert load_of(SERVER, 900).busy > 1
    assert load_of(SERVER, 900).p99_s > 1000
    assert load_of(SERVER, 900).p99_s != inf
