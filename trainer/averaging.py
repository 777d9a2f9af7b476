"""Averaged weights that are of use after few steps too."""

from functools import partial

from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

_WARM_UP = 10  # as TensorFlow's ExponentialMovingAverage with num_updates


class AveragedWeights(WeightAveraging):
    """An exponential moving average of the weights, which is what is evaluated and saved.

    Its decay grows to ``decay`` with the steps behind it: a fixed one of 0.99 would still hold a
    third of the random weights that training began with after 100 steps, which is all that a
    few hundred photos give.

    Args:
        decay: Share of the average that a step keeps, in the end.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(avg_fn=partial(_average, decay))


def decay_after(steps: int, decay: float) -> float:
    """The decay at the step after ``steps`` averaged ones."""
    return min(decay, (1 + steps) / (_WARM_UP + steps))


def _average(decay: float, averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
    return averaged + (1 - decay_after(int(steps), decay)) * (current - averaged)
