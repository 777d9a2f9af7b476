from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.pipeline.cost import CostModel

measured = st.dictionaries(st.integers(1, 64), st.floats(1e-4, 1.0), min_size=1, max_size=20)


@given(measured)
def test_a_larger_batch_is_never_predicted_to_take_less(seconds: dict[int, float]) -> None:
    cost = CostModel(seconds)
    predicted = [cost.predict(size) for size in range(1, 130)]
    assert all(one <= other * (1 + 1e-9) for one, other in pairwise(predicted))
    assert all(cost.bound(size) > cost.predict(size) for size in (1, 7, 100))


def test_between_measured_sizes_it_goes_on_a_line_and_beyond_them_in_proportion() -> None:
    cost = CostModel({1: 0.1, 5: 0.3, 9: 0.2})  # the last is noise
    assert [cost.predict(size) for size in (1, 3, 5, 9, 18)] == pytest.approx(
        [0.1, 0.2, 0.3, 0.3, 0.6]
    )
    assert CostModel({4: 0.2}).predict(1) == 0.2


def test_it_follows_a_neighbour_that_comes_and_goes() -> None:
    cost = CostModel({1: 0.01, 8: 0.04})
    for size in [8, 1, 8, 4] * 15:
        cost.observe(size, 3 * CostModel({1: 0.01, 8: 0.04}).predict(size))
    assert cost.predict(8) == pytest.approx(0.12, rel=0.02)
    for _ in range(60):
        cost.observe(1, 0.01)
    assert cost.predict(8) == pytest.approx(0.04, rel=0.02)


@given(st.floats(0.0, 1e6))
def test_one_outlier_moves_it_by_a_tenth_at_most(seconds: float) -> None:
    cost = CostModel({1: 0.01})
    cost.observe(1, seconds)
    assert 0.9 <= cost.factor <= 1.1 + 1e-9


def test_where_nothing_was_measured_nothing_is_known() -> None:
    cost = CostModel({})
    cost.observe(3, 1.0)
    assert not cost.known
    assert cost.predict(3) == cost.bound(3) == 0.0
