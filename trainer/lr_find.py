"""The learning-rate range test: the loss over growing rates, and where it is half-way down."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as lightning
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from trainer.augment import Batch
from trainer.beside import file_beside
from trainer.data import default_cache, resolve_data, split_of
from trainer.errors import RunError
from trainer.fit import prepare
from trainer.loop import range_test
from trainer.networks.weights import load_weights
from trainer.recipe import Recipe
from trainer.task import ClassificationTask

_LOWEST, _HIGHEST, _STEPS = 1e-6, 1.0, 100
_PLATEAU = 10  # first steps, at rates too small to learn at
_WINDOW = 4.0  # deviation in steps of the window that smooths: a quarter of a decade
_DIVERGED = 2.0  # times the loss at the beginning: what is above says no more


class _Recorded(ClassificationTask):
    """Keeps each step's loss.

    The library's own are an average over the last 50 steps, half of the test, that begins at
    half the loss; and the rate it suggests is where that falls fastest by the rate, which any
    noise at tiny rates does (https://github.com/Lightning-AI/pytorch-lightning/issues/14167).
    """

    def __init__(self, recipe: Recipe, classes: int) -> None:
        super().__init__(recipe, classes)
        self.losses: list[float] = []

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """As its parent."""
        loss = super().training_step(batch, index)
        self.losses.append(loss.item())
        return loss


def find_learning_rate(
    recipe: Recipe, data: Path | None, plot: Path, cache: Path | None = None
) -> float:
    """Run the range test (Smith, arXiv 1506.01186, section 3.3) and plot it.

    Args:
        recipe: Its network, optimiser and photos; rates of all layers are equal here.
        data: As for ``fit``.
        plot: The PNG file to write.
        cache: As for ``fit``.

    Returns:
        The rate at which the loss is half-way down.

    Raises:
        DataError: The data cannot be trained on.
        RunError: The loss falls nowhere, or the plot cannot be written.
        InterruptedRunError: Ctrl-C; no plot is written.
    """
    if not plot.parent.is_dir():  # said before minutes of training
        raise RunError(f"{plot.parent} is no folder")
    # Without frozen epochs: max_learning_rate is that of the epochs in which all layers learn.
    recipe = recipe.with_fit(head_epochs=0)
    lightning.seed_everything(recipe.fit.seed, workers=True, verbose=False)
    root = resolve_data(data, recipe.data, cache or default_cache())
    photos = split_of(recipe, root)
    task = _Recorded(recipe, len(photos.classes))
    load_weights(task.network, recipe.network)
    prepared = prepare(recipe, root, photos, cache)
    rates = range_test(task, prepared.training, _LOWEST, _HIGHEST, _STEPS)
    suggestion = half_way_down(rates, task.losses)
    if suggestion is None:
        raise RunError("the loss falls at no learning rate; look at the data, or at more of it")
    figure = _plot(rates, task.losses, suggestion)
    try:
        with file_beside(plot) as file:
            figure.savefig(file, format="png", dpi=120)
    except OSError as error:
        raise RunError(f"{plot} cannot be written: {error.strerror}") from error
    return suggestion


def half_way_down(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate at which half of the fall from the first losses to the smallest one is done.

    About where the loss falls fastest, and a third to a tenth of the rate at which it is
    smallest; found from the whole fall, so that the noise of single steps moves it little.

    Args:
        rates: Growing.
        losses: Of the step at each rate, in nats.

    Returns:
        None where the loss falls by no more than single steps differ.
    """
    curve, first = smoothed(losses), np.asarray(losses[:_PLATEAU])
    lowest = int(curve.argmin())
    fall = float(first.mean() - curve[lowest])
    if fall <= float(first.std(ddof=1)):
        return None
    above = np.flatnonzero(curve[:lowest] > curve[lowest] + fall / 2)
    return rates[int(above[-1]) + 1] if len(above) else None


def smoothed(losses: Sequence[float]) -> NDArray[np.float64]:
    """The losses, float64 [n], each with its neighbours on both sides: it lags behind nothing."""
    ceiling = _DIVERGED * float(np.mean(losses[:_PLATEAU]))
    values = np.minimum(np.nan_to_num(losses, nan=np.inf), ceiling)
    steps = np.arange(len(values))
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / _WINDOW) ** 2)
    curve: NDArray[np.float64] = weights @ values / weights.sum(axis=1)
    return curve


def _plot(rates: Sequence[float], losses: Sequence[float], suggestion: float) -> Figure:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    curve = smoothed(losses)
    axes.plot(rates, losses, ".", color="#777777", alpha=0.5, label="of a step")
    axes.plot(rates, curve, color="#0072b2", label="smoothed")
    axes.axvline(suggestion, color="#d55e00", linestyle="--", label=f"suggested {suggestion:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss (nats)")
    axes.set_ylim(0, 1.1 * float(curve.max()))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
