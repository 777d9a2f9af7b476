"""Which classes are taken for which."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from trainer.report.charts import chart

_LONGEST_NAME = 22  # characters on an axis
_FEW = 12  # classes that fit a small figure with large type


def confusion_figure(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """The matrix, coloured by the share of each actual class; the counts stand in the cells.

    Args:
        confusion: [classes][classes], photos by actual and predicted class.
        names: Display name of each class.
    """
    counts = np.array(confusion)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    side = max(4.2, 2.2 + 0.3 * len(names))
    figure, axes = chart(side + 0.8, side)
    axes.grid(visible=False)
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    size = 9 if len(names) <= _FEW else 6.5
    labels = [_short(name) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(len(names)), labels, fontsize=size, parse_math=False)
    axes.set(xlabel="predicted", ylabel="actual")
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"  # noqa: PLR2004 - half dark
        text = str(counts[row, column])
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the actual class")
    return figure


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
