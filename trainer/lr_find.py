"""The learning-rate range test: the loss over growing rates, and where it falls fastest."""

from pathlib import Path

import pytorch_lightning as lightning
from matplotlib.figure import Figure

from trainer.beside import file_beside
from trainer.data import default_cache, resolve_data
from trainer.errors import RunError
from trainer.fit import photos_of, prepare
from trainer.loop import range_test
from trainer.networks.weights import load_weights
from trainer.recipe import Recipe
from trainer.task import ClassificationTask

_LOWEST, _HIGHEST, _STEPS = 1e-6, 1.0, 100


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
        The rate at which the smoothed loss falls fastest.

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
    photos = photos_of(recipe, root)
    task = ClassificationTask(recipe, len(photos.classes))
    load_weights(task.network, recipe.network)
    prepared = prepare(recipe, root, photos, cache)
    found = range_test(task, prepared.training, _LOWEST, _HIGHEST, _STEPS)
    suggestion = found.suggestion()
    if suggestion is None:
        raise RunError("the loss falls at no learning rate; look at the data, or at more of it")
    figure = _plot(found.results["lr"], found.results["loss"], suggestion)
    try:
        with file_beside(plot) as file:
            figure.savefig(file, format="png", dpi=120)
    except OSError as error:
        raise RunError(f"{plot} cannot be written: {error.strerror}") from error
    return float(suggestion)


def _plot(rates: list[float], losses: list[float], suggestion: float) -> Figure:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rates, losses, color="#0072b2")
    axes.axvline(suggestion, color="#d55e00", linestyle="--", label=f"suggested {suggestion:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss (nats, smoothed)")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
