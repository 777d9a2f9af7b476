"""Whether the scores mean what they say, and what abstaining would gain."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from models.manifest import Abstain
from trainer.evaluate import ReliabilityBin
from trainer.report.charts import BLUE, GREY, ORANGE, chart

_PERCENT = 100


def reliability_figure(before: Sequence[ReliabilityBin], after: Sequence[ReliabilityBin]) -> Figure:
    """Accuracy against the best score, before and after temperature scaling."""
    figure, axes = chart(4.6, 4.4)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfect")
    for bins, colour, title in ((before, ORANGE, "before"), (after, BLUE, "after calibration")):
        filled = [item for item in bins if item.images]
        most = max(item.images for item in filled)
        scores, accuracies = [i.score for i in filled], [i.accuracy for i in filled]
        axes.plot(scores, accuracies, color=colour, label=title)
        sizes = [10 + 90 * item.images / most for item in filled]
        axes.scatter(scores, accuracies, s=sizes, color=colour, alpha=0.6)
    axes.set(xlabel="best score", ylabel="share that is right", ylim=(-0.02, 1.02))
    axes.legend(frameon=False, loc="upper left")
    return figure


def risk_coverage_figure(coverage: Tensor, risk: Tensor, abstain: Abstain | None = None) -> Figure:
    """The error among answers, for every share of photos that is answered.

    Args:
        coverage: float32 [n], 0 to 1.
        risk: float32 [n], 0 to 1.
        abstain: The threshold and what it promises, to be marked.
    """
    figure, axes = chart(4.6, 4.4)
    axes.plot((coverage * _PERCENT).tolist(), (risk * _PERCENT).tolist(), color=BLUE)
    axes.set(xlabel="photos answered (%), the surest first", ylabel="error among them (%)")
    if abstain is not None:
        axes.axhline(abstain.risk * _PERCENT, color=GREY, linestyle=":", label="stated risk")
        label = f"threshold {abstain.threshold:.3f}"
        axes.axvline(abstain.coverage * _PERCENT, color=ORANGE, linestyle="--", label=label)
        axes.legend(frameon=False, loc="upper left")
    axes.set_ylim(bottom=0)
    return figure
