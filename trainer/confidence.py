"""What may be said of scores: when to abstain, and which labels are likely enough.

Everything is chosen on validation photos and then checked on test photos, which it has not
seen.
"""

from math import ceil, exp, lgamma, log

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from models.manifest import Abstain, Calibration, PredictionSets
from trainer.evaluate import fit_temperature, wilson_interval

COVERAGES = (0.9, 0.95, 0.99)
_CONFIDENCE = 0.95
_BISECTIONS = 60
_ROUNDING = 1e-9  # more than what binary fractions add up to, less than any rank
_ABSTAINED = 0.1


class ConfidenceFigures(BaseModel):
    """How the calibration fares on photos that it was not made with.

    Attributes:
        error: Share of all answers that is wrong.
        error_of_surest: The same of all but the tenth that is least sure.
        answered: Share of photos whose best score reaches the abstain threshold; 1 without one.
        error_answered: Share of those answers that is wrong.
        error_answered_low: Lower end of its 95% Wilson interval.
        error_answered_high: Upper end.
        sets: Of each coverage that is offered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    error: float
    error_of_surest: float
    answered: float
    error_answered: float
    error_answered_low: float
    error_answered_high: float
    sets: tuple["SetFigures", ...]


class SetFigures(BaseModel):
    """How prediction sets of one coverage fare.

    Attributes:
        asked: The coverage that is promised.
        coverage: Share of photos whose set holds the true label.
        coverage_low: Lower end of its 95% Wilson interval.
        coverage_high: Upper end.
        mean_size: Labels in a set.
        empty: Share of sets without a label: no label is sure enough.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    asked: float
    coverage: float
    coverage_low: float
    coverage_high: float
    mean_size: float
    empty: float


def calibrate(logits: Tensor, labels: Tensor, risk: float) -> Calibration:
    """Temperature, abstain threshold and prediction sets from held-out photos.

    Args:
        logits: float32 [n, classes].
        labels: int64 [n].
        risk: Share of answers that may be wrong.
    """
    temperature = fit_temperature(logits, labels)
    scores = torch.softmax(logits / temperature, dim=1)
    return Calibration(
        temperature=temperature,
        abstain=abstain_threshold(scores, labels, risk),
        prediction_sets=tuple(
            PredictionSets(coverage=coverage, least_score=least_score(scores, labels, coverage))
            for coverage in COVERAGES
        ),
    )


def abstain_threshold(scores: Tensor, labels: Tensor, risk: float) -> Abstain | None:
    """The smallest best score from which on at most ``risk`` of the answers are wrong.

    Selection with guaranteed risk (Geifman and El-Yaniv, arXiv 1705.08500): the upper end of
    the exact binomial interval is held against the risk. Coverages are tried from the smallest
    that could pass upwards until one fails, so that all of them share one error probability
    (fixed sequence testing: Angelopoulos et al., "Learn then Test", arXiv 2110.01052).

    Args:
        scores: float32 [n, classes].
        labels: int64 [n].
        risk: Share of answers that may be wrong.

    Returns:
        None where there are too few photos, or too many of the surest are wrong.
    """
    best, predicted = scores.max(dim=1)
    order = best.argsort(descending=True, stable=True)
    wrong = (predicted != labels)[order].long().cumsum(0).tolist()
    # So many without an error would pass; twice as many, so that one unlucky photo ends nothing.
    fewest = 2 * ceil(log(1 - _CONFIDENCE) / log(1 - risk)) if 0 < risk < 1 else len(wrong) + 1
    step = max(1, len(wrong) // 100)
    answered = 0
    for count in [*range(fewest, len(wrong), step), len(wrong)]:
        if count < fewest or upper_bound(wrong[count - 1], count) > risk:
            break
        answered = count
    if answered == 0:
        return None
    threshold = 0.0 if answered == len(wrong) else float(best[order[answered - 1]])
    return Abstain(
        threshold=threshold,
        risk=risk,
        confidence=_CONFIDENCE,
        coverage=float((best >= threshold).float().mean()),
    )


def upper_bound(failures: int, trials: int, confidence: float = _CONFIDENCE) -> float:
    """Upper end of the one-sided exact interval of a share (Clopper and Pearson 1934)."""
    low, high = failures / trials, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _at_most(failures, trials, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def least_score(scores: Tensor, labels: Tensor, coverage: float) -> float:
    """The score from which on a label is in the prediction set.

    Split conformal prediction with one less the true label's score as its score of
    nonconformity (Sadinle, Lei and Wasserman, arXiv 1609.00451): sets are the smallest on
    average, and empty where no label is sure enough.

    Args:
        scores: float32 [n, classes].
        labels: int64 [n].
        coverage: Share of new photos like these whose set is to hold the true label.
    """
    of_truth = scores.gather(1, labels[:, None]).flatten().sort().values
    rank = left_out(len(labels), coverage)
    return float(of_truth[rank - 1]) if rank > 0 else 0.0


def left_out(photos: int, coverage: float) -> int:
    """How many of so many calibration photos lie at or below the least score.

    Their rank in n + 1 is what the promise rests on: the coverage of new photos is Beta
    distributed with n + 1 - rank and rank (Vovk, "Conditional validity of inductive conformal
    predictors", 2012), its mean 1 - rank / (n + 1) and never below ``coverage``.
    """
    # 1 - 0.9 is a little less than a tenth: of 100 the tenth would be the ninth.
    return int((photos + 1) * (1 - coverage) + _ROUNDING)


def check_confidence(calibration: Calibration, logits: Tensor, labels: Tensor) -> ConfidenceFigures:
    """How a calibration fares on photos that it was not made with.

    Args:
        calibration: Made on other photos.
        logits: float32 [n, classes].
        labels: int64 [n].
    """
    scores = torch.softmax(logits / calibration.temperature, dim=1)
    best, predicted = scores.max(dim=1)
    wrong = predicted != labels
    surest = best.argsort(descending=True, stable=True)[: round(len(labels) * (1 - _ABSTAINED))]
    threshold = calibration.abstain.threshold if calibration.abstain else 0.0
    answered = wrong[best >= threshold]
    low, high = wilson_interval(int(answered.sum()), max(1, len(answered)))
    return ConfidenceFigures(
        error=float(wrong.float().mean()),
        error_of_surest=float(wrong[surest].float().mean()),
        answered=len(answered) / len(wrong),
        error_answered=float(answered.float().mean()) if len(answered) else 0.0,
        error_answered_low=low,
        error_answered_high=high,
        sets=tuple(_sets(sets, scores, labels) for sets in calibration.prediction_sets),
    )


def _sets(sets: PredictionSets, scores: Tensor, labels: Tensor) -> SetFigures:
    members = scores >= sets.least_score
    covered = int(members.gather(1, labels[:, None]).sum())
    low, high = wilson_interval(covered, len(labels))
    sizes = members.sum(dim=1)
    return SetFigures(
        asked=sets.coverage,
        coverage=covered / len(labels),
        coverage_low=low,
        coverage_high=high,
        mean_size=float(sizes.float().mean()),
        empty=float((sizes == 0).float().mean()),
    )


def _at_most(failures: int, trials: int, share: float) -> float:
    """Probability of so few failures, or fewer, of a binomial distribution."""
    if share >= 1.0:
        return float(failures >= trials)
    whole = lgamma(trials + 1)
    return sum(
        exp(
            whole
            - lgamma(count + 1)
            - lgamma(trials - count + 1)
            + (count * log(share) if count else 0.0)
            + (trials - count) * log(1 - share)
        )
        for count in range(failures + 1)
    )
