"""How the novelty score tells photos of other things from the test photos."""

import torch
from matplotlib.figure import Figure
from torch import Tensor

from trainer.report.charts import BLUE, GREY, ORANGE, chart

_BINS = 40
_PERCENT = 100


def novelty_figure(ordinary: Tensor, strange: Tensor | None, threshold: float) -> Figure:
    """Shares of photos by their novelty score.

    Args:
        ordinary: Scores of the test photos, float32 [n].
        strange: Scores of photos of other things, float32 [m]; None where there are none.
        threshold: From which score on an image is novel.
    """
    figure, axes = chart(6.0, 4.4)
    shown = [(ordinary, BLUE, "test photos")]
    shown += [] if strange is None else [(strange, ORANGE, "photos of other things")]
    every = torch.cat([scores for scores, _, _ in shown])
    low, high = min(float(every.min()), threshold), max(float(every.max()), threshold)
    edges = torch.linspace(low, high, _BINS + 1).tolist()
    for scores, colour, title in shown:
        weights = torch.full((len(scores),), _PERCENT / len(scores)).tolist()
        axes.hist(scores.tolist(), edges, weights=weights, color=colour, alpha=0.6, label=title)
    axes.axvline(threshold, color=GREY, linestyle="--", label=f"threshold {threshold:.3f}")
    axes.set(xlabel="novelty score: larger is less alike", ylabel="photos (%)")
    axes.legend(frameon=False)
    return figure
