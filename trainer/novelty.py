"""Which novelty score a model gets, from which value on an image is novel, and how well it tells.

Thresholds are chosen on validation photos; photos of other things, where there are some,
choose the score and say what it detects.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from models.artifact import Artifact
from models.class_activation import FeaturesAndHead
from models.errors import ImageError
from models.image_header import ImageLimits
from models.manifest import InputSpec, Novelty, NoveltyMethod
from models.novelty import energy, feature_distance, pooled
from models.preprocess import preprocess
from trainer.errors import DataError

_EXPECTED_SHARE = 0.05  # of ordinary photos that are called novel
_BATCH = 64
_RESAMPLES = 200
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class NoveltyFigures(BaseModel):
    """How a novelty score fares on photos that it was not chosen with.

    Attributes:
        ordinary: Test photos.
        others: Photos of other things.
        auroc: Area under the ROC curve of telling them apart.
        auroc_low: Lower end of its 95% bootstrap interval.
        auroc_high: Upper end.
        flagged: Share of test photos that are called novel.
        detected: Share of photos of other things that are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ordinary: int
    others: int
    auroc: float
    auroc_low: float
    auroc_high: float
    flagged: float
    detected: float


@dataclass(frozen=True)
class Seen:
    """What a module makes of photos.

    Attributes:
        means: ``pooled`` features, float32 [n, c].
        logits: float32 [n, classes].
    """

    means: Tensor
    logits: Tensor


@dataclass(frozen=True)
class NoveltyChoice:
    """A novelty score and what it needs.

    Attributes:
        novelty: For the manifest.
        centroids: Each class's mean features, float32 [classes, c].
        validation: The scores of the validation photos, float32 [n].
    """

    novelty: Novelty
    centroids: Tensor
    validation: Tensor

    def scores(self, seen: Seen, temperature: float) -> Tensor:
        """Novelty scores of other photos, float32 [n]."""
        return _score(self.novelty.method, seen, self.centroids, temperature)


def look(module: FeaturesAndHead, inputs: Tensor) -> Seen:
    """Run a module over uint8 [n, 3, h, w]."""
    means, logits = [], []
    with torch.no_grad():
        for batch in inputs.split(_BATCH):
            features = module.features(batch)
            means.append(pooled(features))
            logits.append(module.head(features))
    return Seen(torch.cat(means), torch.cat(logits))


def read_others(folder: Path, spec: InputSpec) -> Tensor:
    """Every photo below a folder, whatever it shows, as the server would see it.

    Returns:
        uint8 [n, 3, h, w].

    Raises:
        DataError: There is none that can be read.
    """
    images = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _SUFFIXES:
            try:
                images.append(preprocess(path.read_bytes(), spec, ImageLimits()))
            except (ImageError, OSError):
                continue
    if not images:
        raise DataError(f"{folder} has no photo that can be read")
    return torch.stack(images)


def choose_novelty(
    validation: Seen, labels: Tensor, temperature: float, others: Seen | None
) -> NoveltyChoice:
    """Centroids, score and threshold.

    Args:
        validation: The validation photos.
        labels: Theirs, int64 [n].
        temperature: From logits to scores.
        others: Photos of other things; without any the features decide, which told best of
            cats and dogs (docs/trust.md).
    """
    classes = validation.logits.shape[1]
    centroids = _centroids(validation.means, labels, classes)
    ordinary = {
        NoveltyMethod.FEATURE_DISTANCE: _without_oneself(validation.means, labels, centroids),
        NoveltyMethod.ENERGY: energy(validation.logits, temperature),
    }
    method, area, detected = NoveltyMethod.FEATURE_DISTANCE, None, None
    if others is not None:
        strange = {one: _score(one, others, centroids, temperature) for one in NoveltyMethod}
        areas = {one: auroc(ordinary[one], strange[one]) for one in NoveltyMethod}
        method = max(NoveltyMethod, key=lambda one: areas[one])
        area = areas[method]
    threshold = float(ordinary[method].quantile(1 - _EXPECTED_SHARE))
    if others is not None:
        detected = float((strange[method] > threshold).float().mean())
    novelty = Novelty(
        method=method,
        threshold=threshold,
        expected_share=float((ordinary[method] > threshold).float().mean()),
        others=len(others.logits) if others else 0,
        auroc=area,
        detected_share=detected,
    )
    return NoveltyChoice(novelty, centroids, ordinary[method])


def check_novelty(
    choice: NoveltyChoice, test: Seen, others: Seen, temperature: float
) -> NoveltyFigures:
    """How it tells test photos from photos of other things."""
    ordinary, strange = choice.scores(test, temperature), choice.scores(others, temperature)
    areas = [_resampled(ordinary, strange, seed) for seed in range(_RESAMPLES)]
    low, high = torch.tensor(areas).quantile(torch.tensor([0.025, 0.975])).tolist()
    threshold = choice.novelty.threshold
    return NoveltyFigures(
        ordinary=len(ordinary),
        others=len(strange),
        auroc=auroc(ordinary, strange),
        auroc_low=low,
        auroc_high=high,
        flagged=float((ordinary > threshold).float().mean()),
        detected=float((strange > threshold).float().mean()),
    )


def choice_of(artifact: Artifact) -> NoveltyChoice | None:
    """What a published version has, without the scores of its validation photos."""
    novelty, centroids = artifact.manifest.novelty, artifact.centroids()
    if novelty is None or centroids is None:
        return None
    return NoveltyChoice(novelty, centroids, torch.empty(0))


def auroc(ordinary: Tensor, strange: Tensor) -> float:
    """Probability that a strange photo has a larger score than an ordinary one."""
    scores = torch.cat([ordinary, strange])
    truth = torch.cat([torch.zeros(len(ordinary)), torch.ones(len(strange))]).long()
    # Given logits, the library takes their sigmoid, which rounds large ones together.
    ranks = scores.argsort().argsort().float() / len(scores)
    return float(binary_auroc(ranks, truth))


def _resampled(ordinary: Tensor, strange: Tensor, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        scores[torch.randint(len(scores), (len(scores),), generator=generator)]
        for scores in (ordinary, strange)
    ]
    return auroc(drawn[0], drawn[1])


def _score(method: NoveltyMethod, seen: Seen, centroids: Tensor, temperature: float) -> Tensor:
    if method is NoveltyMethod.ENERGY:
        return energy(seen.logits, temperature)
    return feature_distance(seen.means, centroids)


def _centroids(means: Tensor, labels: Tensor, classes: int) -> Tensor:
    sums = torch.zeros(classes, means.shape[1]).index_add_(0, labels, means)
    counts = torch.bincount(labels, minlength=classes)[:, None]
    # A class without a validation photo has the mean of all.
    return torch.where(counts > 0, sums / counts.clamp(min=1), means.mean(dim=0))


def _without_oneself(means: Tensor, labels: Tensor, centroids: Tensor) -> Tensor:
    """Distances as of new photos: a photo is left out of the mean of its own class."""
    counts = torch.bincount(labels, minlength=len(centroids))[labels][:, None]
    own = torch.where(
        counts > 1, (centroids[labels] * counts - means) / (counts - 1).clamp(min=1), 0.0
    )
    nearest_own = 1.0 - (means * torch.nn.functional.normalize(own, dim=1)).sum(dim=1)
    unit = torch.nn.functional.normalize(centroids, dim=1)
    similarity = (means @ unit.T).scatter(1, labels[:, None], -2.0)
    return torch.minimum(nearest_own, 1.0 - similarity.amax(dim=1))
