"""What happened over the epochs: loss, accuracy, error rate, learning rate."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trainer.report.charts import BLUE, ORANGE, chart

History = Sequence[dict[str, float]]
"""Rows of ``metrics.csv``, see ``trainer.history``."""

_PERCENT = 100
_LINE_WITH_DOTS = 40  # epochs up to which each is marked


def curves(history: History) -> dict[str, Figure]:
    """The plots for which the history has figures, by name."""
    found: dict[str, Figure] = {}
    if _series(history, "train/loss"):
        found["loss"] = _over_epochs(history, "loss", "loss (nats)")
        found["accuracy"] = _over_epochs(history, "accuracy", "accuracy (%)", scale=_PERCENT)
        found["error-rate"] = _error_rate(history)
    rates = _by_step(history, "learning_rate")
    if rates:
        found["learning-rate"] = _learning_rate(rates)
    return found


def _over_epochs(history: History, name: str, title: str, scale: float = 1.0) -> Figure:
    figure, axes = chart()
    for part, colour in (("train", ORANGE), ("validation", BLUE)):
        points = _series(history, f"{part}/{name}")
        if points:
            marker = "o" if len(points) <= _LINE_WITH_DOTS else ""
            axes.plot(
                [epoch for epoch, _ in points],
                [value * scale for _, value in points],
                color=colour,
                marker=marker,
                markersize=3,
                label="training" if part == "train" else part,
            )
    axes.set(xlabel="epoch", ylabel=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure


def _error_rate(history: History) -> Figure:
    figure, axes = chart()
    points = _series(history, "validation/accuracy")
    errors = [(1 - value) * _PERCENT for _, value in points]
    axes.plot([epoch for epoch, _ in points], errors, color=BLUE, marker="o", markersize=3)
    axes.set(xlabel="epoch", ylabel="validation error rate (%)", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _learning_rate(points: Sequence[tuple[float, float]]) -> Figure:
    figure, axes = chart()
    axes.plot([step for step, _ in points], [rate for _, rate in points], color=BLUE)
    axes.set(xlabel="step", ylabel="learning rate of the head")
    axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    return figure


def _series(history: History, column: str) -> list[tuple[float, float]]:
    """(epoch, value), epochs counted from 1."""
    return [(row.get("epoch", 0) + 1, row[column]) for row in history if column in row]


def _by_step(history: History, column: str) -> list[tuple[float, float]]:
    return [(row["step"], row[column]) for row in history if column in row]
