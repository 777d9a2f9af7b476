import pytest
import torch
from torch import Tensor

from models.manifest import Calibration
from trainer.confidence import (
    abstain_threshold,
    calibrate,
    check_confidence,
    least_score,
    left_out,
    upper_bound,
)


def drawn(count: int, seed: int, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Logits and labels that follow their softmax: perfectly calibrated answers."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator) * 8
    labels = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=generator)[:, 0]
    return logits, labels


def test_the_exact_interval_is_that_of_the_tables() -> None:
    # Three in three hundred and none in a hundred: R's binom.test(alternative = "less").
    assert upper_bound(3, 300) == pytest.approx(0.02566, abs=5e-5)
    assert upper_bound(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100), abs=1e-6)
    assert upper_bound(5, 5) == pytest.approx(1.0)


@pytest.mark.parametrize("coverage", [0.9, 0.95])
def test_sets_cover_what_they_promise_on_average_over_calibrations(coverage: float) -> None:
    found = []
    for seed in range(40):
        logits, labels = drawn(400, seed)
        least = least_score(torch.softmax(logits, 1), labels, coverage)
        others, truth = drawn(2000, 1000 + seed)
        scores = torch.softmax(others, 1).gather(1, truth[:, None])
        found.append(float((scores >= least).float().mean()))
    # Split conformal: between the coverage and that plus 1 / (n + 1).
    assert sum(found) / len(found) == pytest.approx(coverage, abs=0.01)


@pytest.mark.parametrize(
    ("photos", "coverage", "rank"),
    [(99, 0.9, 10), (499, 0.9, 50), (560, 0.9, 56), (199, 0.95, 10), (99, 0.99, 1), (98, 0.99, 0)],
)
def test_as_many_are_left_out_as_the_promise_allows(
    photos: int, coverage: float, rank: int
) -> None:
    assert left_out(photos, coverage) == rank


def test_sets_of_too_few_photos_hold_every_label() -> None:
    logits, labels = drawn(8, seed=0)
    assert least_score(torch.softmax(logits, 1), labels, 0.9) == 0.0


def test_the_abstain_threshold_keeps_its_risk_on_new_photos() -> None:
    broken, found = 0, 0
    for seed in range(60):
        logits, labels = drawn(800, seed)
        scores = torch.softmax(logits, 1)
        rule = abstain_threshold(scores, labels, risk=0.05)
        if rule is None:
            continue
        found += 1
        new_logits, truth = drawn(4000, 500 + seed)
        best, predicted = torch.softmax(new_logits, 1).max(dim=1)
        answered = best >= rule.threshold
        broken += float((predicted != truth)[answered].float().mean()) > 0.05
    assert found >= 50
    assert broken <= 60 * 0.05 * 2.5  # 3 are expected at most


def test_no_threshold_is_better_than_one_that_means_nothing() -> None:
    logits, labels = drawn(40, seed=1)
    assert abstain_threshold(torch.softmax(logits, 1), labels, risk=0.02) is None
    wrong = torch.full((500,), 1)
    sure = torch.tensor([[1.0, 0.0]]).repeat(500, 1)
    assert abstain_threshold(sure, wrong, risk=0.02) is None


def test_answers_that_are_all_right_are_all_given() -> None:
    scores = torch.tensor([[0.9, 0.1]]).repeat(500, 1)
    rule = abstain_threshold(scores, torch.zeros(500, dtype=torch.long), risk=0.02)
    assert rule is not None
    assert (rule.threshold, rule.coverage) == (0.0, 1.0)


def test_figures_are_of_photos_that_chose_nothing() -> None:
    calibration = calibrate(*drawn(1000, seed=3), risk=0.05)
    figures = check_confidence(calibration, *drawn(1000, seed=4))
    assert figures.error_of_surest < figures.error
    assert figures.error_answered <= 0.07
    assert 0 < figures.answered < 1
    for sets in figures.sets:
        assert sets.coverage_low <= sets.coverage <= sets.coverage_high
        assert sets.coverage == pytest.approx(sets.asked, abs=0.03)
    plain = check_confidence(Calibration(), *drawn(1000, seed=4))
    assert (plain.answered, plain.sets) == (1.0, ())
    assert plain.error_answered == pytest.approx(plain.error)
