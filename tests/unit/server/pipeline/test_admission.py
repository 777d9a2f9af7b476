from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.pipeline.admission import planned_batch, predicted_end
from server.pipeline.cost import CostModel

COST = CostModel({1: 2.0, 4: 5.0, 8: 9.0})


@given(st.integers(0, 100), st.integers(1, 8), st.lists(st.floats(-5, 30), min_size=1, max_size=4))
def test_it_is_what_a_simulation_of_the_lanes_gives(
    ahead: int, max_batch_size: int, free_at: list[float]
) -> None:
    lanes = [max(3.0, at) for at in free_at]
    expected = 3.0 + COST.predict(1)
    if ahead or min(lanes) > 3.0:
        for _ in range(ahead // max_batch_size):
            lane = lanes.index(min(lanes))
            lanes[lane] += COST.predict(max_batch_size)
        expected = 3.0 + 1.25 * (min(lanes) + COST.predict(max_batch_size) - 3.0)
    end = predicted_end(3.0, ahead, max_batch_size, free_at, COST)
    assert end == pytest.approx(expected)


def test_a_free_engine_and_an_empty_queue_take_one_run() -> None:
    assert predicted_end(7.0, 0, 8, [float("-inf"), 50.0], COST) == 9.0


@pytest.mark.parametrize(
    ("allowed_s", "planned"),
    [
        (inf, 8),
        (2 * 1.25 * 9.0, 8),  # it just misses a full batch, and is in time in the next
        (2 * 1.25 * 5.0, 4),
        (2 * 1.25 * 5.0 - 0.01, 3),
        (2 * 1.25 * 2.0, 1),
        (2 * 1.25 * 2.0 - 0.01, 2),  # it may miss none: what is in time if it starts at once
        (1.0, 1),
        (0.0, 1),
        (-1.0, 1),
    ],
)
def test_a_batch_takes_at_most_half_of_what_a_deadline_allows(
    allowed_s: float, planned: int
) -> None:
    assert planned_batch(allowed_s, 8, COST) == planned
