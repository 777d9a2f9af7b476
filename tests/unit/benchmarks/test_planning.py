"""Plans hold in a simulation of the server's own batching."""

import pytest

from benchmarks.planning import ENGINES, TARGETS, capacity_of, simulated_p99_s
from client.planning import plan

CASES = [(name, *target) for name in ENGINES for target in TARGETS[name]]


@pytest.mark.parametrize(("name", "rate_per_s", "p99_s"), CASES)
def test_a_planned_replica_answers_in_time(name: str, rate_per_s: float, p99_s: float) -> None:
    capacity = capacity_of(name)
    planned = plan(capacity, rate_per_s, p99_s)
    found_s = simulated_p99_s(capacity, planned.load.per_s, arrivals=3000)
    assert found_s <= p99_s
    assert found_s <= 1.05 * planned.load.p99_s  # what the plan says of itself


@pytest.mark.parametrize(("name", "rate_per_s", "p99_s"), [CASES[1], CASES[5], CASES[9]])
def test_half_as_many_would_not_do(name: str, rate_per_s: float, p99_s: float) -> None:
    capacity = capacity_of(name)
    planned = plan(capacity, rate_per_s, p99_s)
    half = max(1, planned.replicas // 2)
    assert simulated_p99_s(capacity, rate_per_s / half, arrivals=3000) > p99_s
