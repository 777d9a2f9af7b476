"""Score a model on labelled photos it has never seen."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from models.manifest import Metrics

_CALIBRATION_BINS = 15
_Z_95 = 1.959964  # two-sided 95% quantile of the normal distribution


@dataclass(frozen=True)
class ClassFigures:
    """How one class fared, each a share from 0 to 1.

    Attributes:
        images: How many photos of the class there are.
        precision: Share of photos given this label that have it.
        recall: Share of photos with this label that were given it.
    """

    images: int
    precision: float
    recall: float


def measure(logits: Tensor, labels: Tensor, temperature: float) -> Metrics:
    """Accuracy, log loss and calibration error.

    Args:
        logits: float32 [n, classes].
        labels: int64 [n].
        temperature: Of the scores, softmax(logits / temperature).
    """
    scores = torch.softmax(logits / temperature, dim=1)
    correct = int((scores.argmax(dim=1) == labels).sum())
    low, high = wilson_interval(correct, len(labels))
    calibration_error = multiclass_calibration_error(
        scores, labels, num_classes=logits.shape[1], n_bins=_CALIBRATION_BINS
    )
    return Metrics(
        images=len(labels),
        accuracy=correct / len(labels),
        accuracy_low=low,
        accuracy_high=high,
        log_loss=float(torch.nn.functional.cross_entropy(logits / temperature, labels)),
        expected_calibration_error=float(calibration_error),
    )


def per_class(logits: Tensor, labels: Tensor) -> list[ClassFigures]:
    """Precision and recall of each class, in the order of the labels."""
    predicted = logits.argmax(dim=1)
    figures = []
    for index in range(logits.shape[1]):
        truly, given = labels == index, predicted == index
        hits = int((truly & given).sum())
        figures.append(
            ClassFigures(
                images=int(truly.sum()),
                precision=hits / max(1, int(given.sum())),
                recall=hits / max(1, int(truly.sum())),
            )
        )
    return figures


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
        value = torch.nn.functional.cross_entropy(logits / log_temperature.exp(), labels)
        value.backward()
        return value

    optimizer.step(loss)
    return float(log_temperature.detach().exp())


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95% interval of a share (Wilson 1927)."""
    share = successes / trials
    spread = _Z_95**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = _Z_95 / (1 + spread) * sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, centre - half), min(1.0, centre + half)
