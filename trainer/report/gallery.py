"""Photos with what the model said of them."""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.class_activation import class_activation_maps
from models.overlay import overlay
from trainer.pages import thumbnail
from trainer.score import ScoredRun

_SHOWN = 24
_MAPS = 12
_SEED = 0


@dataclass(frozen=True)
class Tile:
    """A photo in a gallery.

    Attributes:
        image: JPEG as a data URI.
        actual: Its label.
        predicted: The model's.
        probability: Of the predicted label, calibrated.
        actual_probability: Of its own label, calibrated.
        loss: Nats.
        path: For people.
    """

    image: str
    actual: str
    predicted: str
    probability: float
    actual_probability: float
    loss: float
    path: str

    @property
    def right(self) -> bool:
        """Whether the prediction is its label."""
        return self.actual == self.predicted


def top_losses(scored: ScoredRun) -> list[Tile]:
    """The test photos the model is most wrong about, the worst first."""
    losses = _losses(scored)
    worst = losses.argsort(descending=True)[:_SHOWN].tolist()
    return [_tile(scored, index, scored.test.images.inputs[index]) for index in worst]


def random_samples(scored: ScoredRun) -> list[Tile]:
    """Test photos, drawn at random with a fixed seed."""
    return [_tile(scored, i, scored.test.images.inputs[i]) for i in _drawn(scored, _SHOWN)]


def activation_samples(scored: ScoredRun) -> list[tuple[Tile, Tile]]:
    """Test photos beside the class-activation map of the predicted label."""
    chosen = _drawn(scored, _MAPS)
    images = scored.test.images.inputs[chosen]
    predicted = scored.test.logits[chosen].argmax(dim=1)
    maps = class_activation_maps(scored.module, images, predicted)
    return [
        (_tile(scored, at, image), _tile(scored, at, overlay(image, activation)))
        for at, image, activation in zip(chosen, images, maps, strict=True)
    ]


def _drawn(scored: ScoredRun, count: int) -> list[int]:
    total = len(scored.test.images.paths)
    return sorted(random.Random(_SEED).sample(range(total), min(count, total)))


def _losses(scored: ScoredRun) -> Tensor:
    scores = scored.test.scores(scored.temperature)
    return -scores.gather(1, scored.test.images.labels[:, None]).squeeze(1).log()


def _tile(scored: ScoredRun, index: int, image: Tensor) -> Tile:
    scores = torch.softmax(scored.test.logits[index] / scored.temperature, dim=0)
    actual = int(scored.test.images.labels[index])
    predicted = int(scores.argmax())
    path: Path = scored.test.images.paths[index]
    return Tile(
        image=thumbnail(image),
        actual=scored.names[actual],
        predicted=scored.names[predicted],
        probability=float(scores[predicted]),
        actual_probability=float(scores[actual]),
        loss=float(-scores[actual].log()),
        path=f"{path.parent.name}/{path.name}",
    )
