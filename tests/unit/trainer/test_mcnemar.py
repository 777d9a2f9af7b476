import pytest
import torch

from trainer.mcnemar import Paired, pair


def test_p_values_are_those_of_a_fair_coin() -> None:
    paired = Paired(photos=100, only_first=1, only_second=9)
    # R: binom.test(9, 10)$p.value = 0.02148; its one-sided half, 0.01074.
    assert paired.p_first_worse == pytest.approx(0.0107421875)
    assert paired.p_different == pytest.approx(0.021484375)
    assert Paired(100, 9, 1).p_first_worse == pytest.approx(0.9990234375)
    assert Paired(100, 0, 0).p_first_worse == 1.0


def test_pairs_are_counted_and_the_interval_holds_the_difference() -> None:
    first = torch.tensor([True, True, False, True, False])
    second = torch.tensor([True, False, True, False, False])
    paired = pair(first, second)
    assert (paired.photos, paired.only_first, paired.only_second) == (5, 2, 1)
    low, high = paired.interval
    assert paired.difference == pytest.approx(0.2)
    assert low < 0.2 < high
