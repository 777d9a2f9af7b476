"""Figures as tables on a terminal."""

from rich.console import Console
from rich.table import Table

from trainer.compare import Comparison
from trainer.evaluate import Evaluation


def print_evaluation(evaluation: Evaluation) -> None:
    """Print all figures but the confusion matrix, which the report shows."""
    console = Console()
    console.print(_headline(evaluation))
    console.print(_classes(evaluation))
    if evaluation.most_confused:
        console.print(_confused(evaluation))


def _headline(evaluation: Evaluation) -> Table:
    table = Table(title=f"{evaluation.images} test photos", show_header=False)
    interval = f"95%: {evaluation.accuracy_low:.2%} to {evaluation.accuracy_high:.2%}"
    table.add_row("accuracy", f"{evaluation.accuracy:.2%}  ({interval})")
    for k, share in evaluation.top_k.items():
        if k > 1:
            table.add_row(f"top {k}", f"{share:.2%}")
    table.add_row("mean of the classes' recalls", f"{evaluation.mean_class_accuracy:.2%}")
    table.add_row("macro F1", f"{evaluation.macro_f1:.4f}")
    table.add_row("temperature", f"{evaluation.temperature:.3f}")
    table.add_row(
        "log loss (nats), before and after it",
        f"{evaluation.log_loss_before:.4f} -> {evaluation.log_loss:.4f}",
    )
    table.add_row(
        "calibration error, before and after it",
        f"{evaluation.expected_calibration_error_before:.4f}"
        f" -> {evaluation.expected_calibration_error:.4f}",
    )
    return table


def _classes(evaluation: Evaluation) -> Table:
    table = Table("class", "photos", "precision", "recall", "F1")
    for figures in evaluation.classes:
        table.add_row(
            figures.label,
            str(figures.images),
            f"{figures.precision:.2%}",
            f"{figures.recall:.2%}",
            f"{figures.f1:.4f}",
        )
    return table


def _confused(evaluation: Evaluation) -> Table:
    table = Table("actual", "taken for", "photos", "share of the class")
    for pair in evaluation.most_confused[:10]:
        table.add_row(pair.actual, pair.predicted, str(pair.images), f"{pair.share:.2%}")
    return table


def print_comparison(comparison: Comparison) -> None:
    """Print both sides, their difference, and the keys in which their recipes differ."""
    console = Console()
    for title, side in (("first", comparison.first), ("second", comparison.second)):
        # Paths are longer than columns, and may hold what rich takes for markup.
        console.print(f"{title}: {side.name}", soft_wrap=True, markup=False, highlight=False)
    console.print(_sides(comparison))
    low, high = comparison.difference_low * 100, comparison.difference_high * 100
    console.print(
        f"first less second: {comparison.difference * 100:+.2f} points"
        f" (95%: {low:+.2f} to {high:+.2f}), McNemar p {comparison.p_value:.4f};"
        f" latency ratio {comparison.latency_ratio:.2f}"
    )
    if comparison.recipe_differences:
        table = Table("recipe key", "first", "second")
        for key, values in comparison.recipe_differences.items():
            table.add_row(key, *values)
        console.print(table)


def _known(count: int | None) -> str:
    return "unknown" if count is None else str(count)


def _sides(comparison: Comparison) -> Table:
    first, second = comparison.first, comparison.second
    table = Table("", "first", "second")
    rows = {
        "accuracy": [f"{side.metrics.accuracy:.2%}" for side in (first, second)],
        "log loss (nats)": [f"{side.metrics.log_loss:.4f}" for side in (first, second)],
        "calibration error": [
            f"{side.metrics.expected_calibration_error:.4f}" for side in (first, second)
        ],
        "parameters": [f"{side.parameters:,}" for side in (first, second)],
        "photos it alone gets right": [str(len(side.only_right)) for side in (first, second)],
        "test photos it was trained on": [_known(side.trained_on) for side in (first, second)],
    }
    for label in first.recalls:
        rows[f"recall of {label}"] = [f"{side.recalls[label]:.2%}" for side in (first, second)]
    for title, values in rows.items():
        table.add_row(title, *values)
    return table
