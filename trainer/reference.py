"""The distributions that traffic is held against later: those of held-out photos."""

import torch
from torch import Tensor

from models.image_statistics import BRIGHTEST, LARGEST_CONTRAST, LARGEST_DETAIL, image_statistics
from models.manifest import Histogram, Reference

_BINS = 20
_QUANTILES = 10


def reference_of(images: Tensor, scores: Tensor, novelty: Tensor, image_bytes: Tensor) -> Reference:
    """From validation photos, which were not trained on and are like the test photos.

    Args:
        images: uint8 [n, 3, h, w].
        scores: Calibrated, float32 [n, classes].
        novelty: Novelty scores, float32 [n].
        image_bytes: Of their files, [n].
    """
    best, predicted = scores.max(dim=1)
    given = torch.bincount(predicted, minlength=scores.shape[1]) / len(scores)
    seen = [image_statistics(image) for image in images]

    def of(name: str) -> Tensor:
        return torch.tensor([getattr(one, name) for one in seen])

    return Reference(
        images=len(scores),
        best_score=_histogram(best, 1.0),
        brightness=_histogram(of("brightness"), BRIGHTEST),
        labels=tuple(given.tolist()),
        contrast=_by_quantiles(of("contrast"), 0.0, LARGEST_CONTRAST),
        saturation=_by_quantiles(of("saturation"), 0.0, BRIGHTEST),
        detail=_by_quantiles(of("detail"), 0.0, LARGEST_DETAIL),
        novelty=_by_quantiles(novelty, float(novelty.min()), float(novelty.max())),
        image_bytes=_by_quantiles(image_bytes, 0.0, float(image_bytes.max())),
    )


def _histogram(values: Tensor, highest: float) -> Histogram:
    counts = torch.histc(values, _BINS, 0.0, highest)
    return Histogram(
        edges=tuple(highest * edge / _BINS for edge in range(_BINS + 1)),
        shares=tuple((counts / len(values)).tolist()),
    )


def _by_quantiles(values: Tensor, lowest: float, highest: float) -> Histogram:
    """Bins with about as many photos each: fine where there are many."""
    inner = values.double().quantile(torch.linspace(0, 1, _QUANTILES + 1).double())[1:-1].tolist()
    edges = sorted({lowest, *inner, highest})
    if len(edges) == 1:
        edges = [edges[0], edges[0] + 1.0]
    places = torch.bucketize(values.double(), torch.tensor(edges[1:-1]).double(), right=True)
    counts = torch.bincount(places, minlength=len(edges) - 1)
    return Histogram(edges=tuple(edges), shares=tuple((counts / len(values)).tolist()))
