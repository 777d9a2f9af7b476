"""Engines at smaller inputs: what is computed before a request would have to be refused.

The images come at the model's own size, since there may be time for it yet when they are decoded;
whether they shrink is decided when their batch forms. The name: Klein et al., "Brownout: building
more robust cloud applications", ICSE 2014.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor
from torchvision.transforms.v2 import functional

from models.golden import GoldenSamples
from server.pipeline.cost import CostModel
from server.pipeline.engine import Engine, Scores, Work
from server.pipeline.torchscript import TorchScriptEngine, stacked, time_batches
from server.pipeline.warm_up import Seconds

log = logging.getLogger(__name__)

_LEAST_AGREEMENT = 0.75  # of the golden samples keep their best label
_LEAST_GAIN = 1.2  # over the next larger size: less is not worth being less sure


class ShrunkEngine:
    """A TorchScript engine whose images are scaled down first.

    Args:
        scripted: Of the same artifact, at its own size.
        side: Pixels of a side, fewer than the model's.
    """

    def __init__(self, scripted: TorchScriptEngine, side: int) -> None:
        self._scripted = scripted
        self._side = side

    def run(self, batch: Sequence[Work]) -> list[Scores | Exception]:
        """Scores for each image, which tell the side; those that are not finite fail alone."""
        features, logits = self.features_and_logits(stacked(batch))
        return told(self._scripted.answers(features, logits, batch), self._side)

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The forward pass alone.

        Args:
            images: uint8 [b, 3, h, w] of the model's own size.

        Returns:
            As :meth:`TorchScriptEngine.features_and_logits`, of the shrunk images.
        """
        return self._scripted.features_and_logits(shrink(images, self._side))

    def scores(self, images: Tensor) -> Tensor:
        """Calibrated scores, float32 [b, classes] on the CPU."""
        return self._scripted.scores(self.features_and_logits(images)[1])

    def warm_up(self, sizes: Sequence[int], runs: int) -> Seconds:
        """As :meth:`TorchScriptEngine.warm_up`, with the scaling."""
        spec = self._scripted.input
        return time_batches(self.scores, (spec.height, spec.width), sizes, runs)


class _Scores(Protocol):
    def scores(self, images: Tensor) -> Tensor: ...


@dataclass
class Shrunk:
    """A smaller input that requests may be answered at.

    Attributes:
        side: Pixels of a side.
        engine: What computes it; a faster one may take its place.
        cost: What its batches take, kept current.
    """

    side: int
    engine: Engine
    cost: CostModel


def shrink(images: Tensor, side: int) -> Tensor:
    """Scale down, with anti-aliasing.

    Args:
        images: uint8 [b, 3, h, w].
        side: Pixels.

    Returns:
        uint8 [b, 3, side, side].
    """
    shrunk: Tensor = functional.resize(images, [side, side], antialias=True)
    return shrunk


def told(answers: Sequence[Scores | Exception], side: int) -> list[Scores | Exception]:
    """The answers, with the side that they come from.

    Their novelty is left out: the artifact's threshold holds for its own size alone.
    """
    return [
        one if isinstance(one, Exception) else replace(one, shrunk_to=side, novelty=None)
        for one in answers
    ]


def admits(engine: _Scores, samples: GoldenSamples, side: int) -> bool:
    """Whether an artifact can be run at ``side``: it computes, and mostly says the same.

    A few golden samples cannot tell the accuracy; they tell a network that is lost at that size.
    """
    try:
        scores = engine.scores(samples.inputs)
    except RuntimeError as error:  # its layers want another size
        log.warning("the model cannot be run at %d pixels: %s", side, str(error)[-300:])
        return False
    if scores.shape != samples.logits.shape or not bool(scores.isfinite().all()):
        log.warning("at %d pixels the model gives no scores", side)
        return False
    same = float((scores.argmax(dim=1) == samples.logits.argmax(dim=1)).float().mean())
    fields = {"side": side, "golden_agreement": round(same, 3)}
    if same < _LEAST_AGREEMENT:
        log.warning(
            "at this size the model says too often something else", extra={"fields": fields}
        )
        return False
    log.info("a smaller input is allowed", extra={"fields": fields})
    return True


def worthwhile(whole: CostModel, shrunk: Sequence[Shrunk], size: int) -> list[Shrunk]:
    """Those that are enough faster than the next larger one, largest side first.

    Args:
        whole: What batches of the model's own size take.
        shrunk: What there is, largest side first.
        size: Of the batches that count: under load, the largest.
    """
    chosen: list[Shrunk] = []
    slowest = whole
    for one in shrunk:
        if one.cost.predict(size) * _LEAST_GAIN <= slowest.predict(size):
            chosen.append(one)
            slowest = one.cost
    return chosen
