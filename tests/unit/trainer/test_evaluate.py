import pytest
import torch

from trainer.evaluate import fit_temperature, measure, per_class, wilson_interval


def test_wilson_interval_matches_published_values() -> None:
    # Newcombe 1998, table I, method 3: 81 of 263 and 0 of 20.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_measure_counts_and_scores() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]])
    metrics = measure(logits, torch.tensor([0, 1, 0, 1]), temperature=1.0)
    assert metrics.images == 4
    assert metrics.accuracy == 0.75
    assert metrics.log_loss == pytest.approx((3 * 0.126928 + 2.126928) / 4, abs=1e-5)
    assert metrics.expected_calibration_error == pytest.approx(0.880797 - 0.75, abs=1e-5)


def test_the_temperature_undoes_overconfidence() -> None:
    torch.manual_seed(0)
    logits = torch.randn(20_000, 3)
    labels = torch.distributions.Categorical(logits=logits).sample()
    assert fit_temperature(logits * 2.5, labels) == pytest.approx(2.5, rel=0.05)


def test_per_class_precision_and_recall() -> None:
    first, second = per_class(torch.tensor([[1, 0], [1, 2]]), ["a", "b"])
    assert (first.images, first.precision, first.recall) == (1, 0.5, 1.0)
    assert (second.images, second.precision, second.recall) == (3, 1.0, pytest.approx(2 / 3))
