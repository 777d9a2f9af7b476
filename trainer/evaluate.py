"""Score a model on labelled photos it has never seen."""

from collections.abc import Sequence
from math import sqrt

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
)

from models.manifest import Metrics

CALIBRATION_BINS = 15
_TOP_KS = (1, 2, 3, 5)
Z_95 = 1.959964  # two-sided 95% quantile of the normal distribution
_MOST_CONFUSED = 20
_LOG_TEMPERATURES = (-2.0, 3.0)  # temperatures of 0.14 to 20


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassFigures(_Figures):
    """How one class fared, each a share from 0 to 1.

    Attributes:
        label: The class's display name.
        images: How many photos of the class there are.
        precision: Share of photos given this label that have it.
        recall: Share of photos with this label that were given it.
        f1: Harmonic mean of both.
    """

    label: str
    images: int
    precision: float
    recall: float
    f1: float


class ConfusedPair(_Figures):
    """How often photos of one class were given another's label."""

    actual: str
    predicted: str
    images: int
    share: float


class ReliabilityBin(_Figures):
    """Photos whose best score lies in a range.

    Attributes:
        low: Lower end of the range.
        high: Upper end.
        images: How many there are.
        score: Their mean best score; 0 where there are none.
        accuracy: The share of them that is right; 0 where there are none.
    """

    low: float
    high: float
    images: int
    score: float
    accuracy: float


class Evaluation(_Figures):
    """Everything that is measured on a set of labelled photos.

    Attributes:
        images: How many photos.
        accuracy: Share whose best label is right.
        accuracy_low: Lower end of its 95% Wilson interval.
        accuracy_high: Upper end.
        top_k: Share whose true label is among the k best, by k below the number of classes.
        mean_class_accuracy: Mean of the classes' recalls.
        macro_f1: Mean of the classes' F1.
        temperature: Of the calibrated scores, softmax(logits / temperature).
        log_loss_before: Nats, of softmax(logits).
        log_loss: Nats, of the calibrated scores.
        expected_calibration_error_before: Of softmax(logits), in 15 bins (Guo et al. 2017).
        expected_calibration_error: The same of the calibrated scores.
        classes: Figures of each class, in the order of the labels.
        confusion: Photos by actual (row) and predicted (column) class.
        most_confused: The largest entries off its diagonal.
        reliability_before: Of softmax(logits).
        reliability: Of the calibrated scores.
    """

    images: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    top_k: dict[int, float]
    mean_class_accuracy: float
    macro_f1: float
    temperature: float
    log_loss_before: float
    log_loss: float
    expected_calibration_error_before: float
    expected_calibration_error: float
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    most_confused: tuple[ConfusedPair, ...]
    reliability_before: tuple[ReliabilityBin, ...]
    reliability: tuple[ReliabilityBin, ...]


def evaluate(
    logits: Tensor, labels: Tensor, names: Sequence[str], temperature: float
) -> Evaluation:
    """All figures.

    Args:
        logits: float32 [n, classes].
        labels: int64 [n].
        names: Display name of each class.
        temperature: Of the scores.
    """
    metrics = measure(logits, labels, temperature)
    before = measure(logits, labels, 1.0)
    confusion = multiclass_confusion_matrix(logits, labels, num_classes=len(names))
    classes = per_class(confusion, names)
    present = [figures for figures in classes if figures.images]
    return Evaluation(
        images=metrics.images,
        accuracy=metrics.accuracy,
        accuracy_low=metrics.accuracy_low,
        accuracy_high=metrics.accuracy_high,
        top_k={k: _top_k(logits, labels, k) for k in _TOP_KS if k == 1 or k < len(names)},
        mean_class_accuracy=sum(figures.recall for figures in present) / len(present),
        macro_f1=sum(figures.f1 for figures in present) / len(present),
        temperature=temperature,
        log_loss_before=before.log_loss,
        log_loss=metrics.log_loss,
        expected_calibration_error_before=before.expected_calibration_error,
        expected_calibration_error=metrics.expected_calibration_error,
        classes=classes,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        most_confused=_most_confused(confusion, names),
        reliability_before=reliability_bins(torch.softmax(logits, dim=1), labels),
        reliability=reliability_bins(torch.softmax(logits / temperature, dim=1), labels),
    )


def measure(logits: Tensor, labels: Tensor, temperature: float) -> Metrics:
    """Accuracy, log loss and calibration error: what a manifest holds.

    Args:
        logits: float32 [n, classes].
        labels: int64 [n].
        temperature: Of the scores, softmax(logits / temperature).
    """
    scores = torch.softmax(logits / temperature, dim=1)
    correct = int((scores.argmax(dim=1) == labels).sum())
    low, high = wilson_interval(correct, len(labels))
    calibration_error = multiclass_calibration_error(
        scores, labels, num_classes=logits.shape[1], n_bins=CALIBRATION_BINS
    )
    return Metrics(
        images=len(labels),
        accuracy=correct / len(labels),
        accuracy_low=low,
        accuracy_high=high,
        log_loss=float(torch.nn.functional.cross_entropy(logits / temperature, labels)),
        expected_calibration_error=float(calibration_error),
    )


def per_class(confusion: Tensor, names: Sequence[str]) -> tuple[ClassFigures, ...]:
    """Precision, recall and F1 of each class, in the order of the labels.

    Args:
        confusion: int64 [classes, classes], actual by predicted.
        names: Display name of each class.
    """
    figures = []
    for index, name in enumerate(names):
        hits = int(confusion[index, index])
        actual, given = int(confusion[index].sum()), int(confusion[:, index].sum())
        figures.append(
            ClassFigures(
                label=name,
                images=actual,
                precision=hits / max(1, given),
                recall=hits / max(1, actual),
                f1=2 * hits / max(1, actual + given),
            )
        )
    return tuple(figures)


def reliability_bins(scores: Tensor, labels: Tensor) -> tuple[ReliabilityBin, ...]:
    """Best score against accuracy in bins of equal width (Guo et al., arXiv 1706.04599).

    Args:
        scores: float32 [n, classes].
        labels: int64 [n].
    """
    best, predicted = scores.max(dim=1)
    right = (predicted == labels).float()
    position = (best * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    bins = []
    for index in range(CALIBRATION_BINS):
        inside = position == index
        count = int(inside.sum())
        bins.append(
            ReliabilityBin(
                low=index / CALIBRATION_BINS,
                high=(index + 1) / CALIBRATION_BINS,
                images=count,
                score=float(best[inside].mean()) if count else 0.0,
                accuracy=float(right[inside].mean()) if count else 0.0,
            )
        )
    return tuple(bins)


def risk_coverage(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The error among the surest answers, for every share of photos that is answered.

    Geifman and El-Yaniv, "Selective Classification" (arXiv 1705.08500).

    Args:
        scores: float32 [n, classes].
        labels: int64 [n].

    Returns:
        Coverage and risk, float32 [n] each, the surest photo first.
    """
    best, predicted = scores.max(dim=1)
    wrong = (predicted != labels).float()[best.argsort(descending=True, stable=True)]
    answered = torch.arange(1, len(labels) + 1)
    return answered / len(labels), wrong.cumsum(0) / answered


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature with the smallest log loss on held-out photos (Guo et al. 2017).

    Args:
        logits: float32 [n, classes].
        labels: int64 [n].
    """
    log_temperature = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        # Bounded: photos that are all classified rightly would drive it to nothing.
        value = torch.nn.functional.cross_entropy(
            logits / log_temperature.clamp(*_LOG_TEMPERATURES).exp(), labels
        )
        value.backward()
        return value

    optimizer.step(loss)
    return float(log_temperature.detach().clamp(*_LOG_TEMPERATURES).exp())


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95% interval of a share (Wilson 1927)."""
    share = successes / trials
    spread = Z_95**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = Z_95 / (1 + spread) * sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def _top_k(logits: Tensor, labels: Tensor, k: int) -> float:
    return float(
        multiclass_accuracy(logits, labels, num_classes=logits.shape[1], average="micro", top_k=k)
    )


def _most_confused(confusion: Tensor, names: Sequence[str]) -> tuple[ConfusedPair, ...]:
    pairs = [
        ConfusedPair(
            actual=names[actual],
            predicted=names[predicted],
            images=int(confusion[actual, predicted]),
            share=float(confusion[actual, predicted] / confusion[actual].sum()),
        )
        for actual in range(len(names))
        for predicted in range(len(names))
        if actual != predicted and confusion[actual, predicted] > 0
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair.images)[:_MOST_CONFUSED])
