"""A run's ``metrics.csv``: one row for each thing that was logged, in the order it happened.

Lightning's own CSV logger deletes the file of a run that is resumed.
"""

import csv
from argparse import Namespace
from pathlib import Path

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from trainer.beside import file_beside

COLUMNS = (
    "epoch",
    "step",
    "learning_rate",
    "train/step_loss",
    "train/loss",
    "train/accuracy",
    "train/wait_share",
    "validation/loss",
    "validation/accuracy",
)
"""Rows are sparse: per-step rows hold the rate and the step's loss, per-epoch rows the rest.
Losses in nats, accuracies and the share of time spent waiting for photos from 0 to 1."""


class HistoryLogger(Logger):
    """Appends to a CSV file.

    Args:
        path: The file; created with its header where it is missing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    @property
    def name(self) -> None:
        """None: the run's folder is the name."""

    @property
    def version(self) -> None:
        """None: the run's folder is the version."""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, object] | Namespace) -> None:
        """Nothing: the run's folder holds the recipe."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append a row; figures that have no column are left to TensorBoard."""
        row = {name: metrics[name] for name in COLUMNS if name in metrics}
        if row.keys() <= {"epoch"}:
            return
        row["epoch"] = int(row.get("epoch", 0))
        row["step"] = -1 if step is None else step
        fresh = not self._path.exists()
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerow(row)


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a ``metrics.csv``, each without the columns it leaves empty."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        ]


def rewind_history(path: Path, epoch: int) -> None:
    """Drop what a killed run logged in ``epoch`` and later: it will be logged again."""
    if not path.exists():
        return
    header, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # A row that was being written when the run was killed has no end.
    kept = [line for line in lines if line.endswith("\n") and int(line.split(",")[0]) < epoch]
    with file_beside(path) as file:
        file.write((header + "".join(kept)).encode())
