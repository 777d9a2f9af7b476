"""The distributions that traffic is held against later: those of a run's held-out photos."""

import torch
from torch import Tensor

from models.manifest import Histogram, Reference
from trainer.score import ScoredRun

_BINS = 20
_BRIGHTEST = 255.0


def reference_of(scored: ScoredRun) -> Reference:
    """From the validation photos, which were not trained on and are like the test photos."""
    scores = scored.validation.scores(scored.temperature)
    best, predicted = scores.max(dim=1)
    given = torch.bincount(predicted, minlength=scores.shape[1]) / len(scores)
    brightness = torch.stack([image.float().mean() for image in scored.validation.images.inputs])
    return Reference(
        images=len(scores),
        best_score=_histogram(best, 1.0),
        brightness=_histogram(brightness, _BRIGHTEST),
        labels=tuple(given.tolist()),
    )


def _histogram(values: Tensor, highest: float) -> Histogram:
    counts = torch.histc(values, _BINS, 0.0, highest)
    return Histogram(
        edges=tuple(highest * edge / _BINS for edge in range(_BINS + 1)),
        shares=tuple((counts / len(values)).tolist()),
    )
