"""Figures as tables on a terminal."""

from rich.console import Console
from rich.table import Table

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
