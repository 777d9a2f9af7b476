"""What a person sees while a network trains: a live bar on a terminal, lines in a log elsewhere."""

import logging

import pytorch_lightning as lightning
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bars,
)

from trainer.augment import Batch

log = logging.getLogger(__name__)


class Progress(Callback):
    """A bar over all steps with loss, validation accuracy, learning rate and remaining time.

    On anything that is no terminal, one log line an epoch instead.

    Args:
        console: Where the bar goes; standard error where it is not given.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bars: Bars | None = None

    def on_train_start(
        self, trainer: lightning.Trainer, _module: lightning.LightningModule
    ) -> None:
        """Show the bar."""
        if not self._console.is_terminal or not trainer.is_global_zero:
            return
        total = int(trainer.estimated_stepping_batches)
        self._bars = Bars(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._bars.add_task("", total=total, epoch="", figures="", completed=trainer.global_step)
        self._bars.start()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        _module: lightning.LightningModule,
        _outputs: object,
        _batch: Batch,
        _batch_index: int,
    ) -> None:
        """Move the bar."""
        if self._bars is not None:
            self._bars.update(
                self._bars.task_ids[0],
                completed=trainer.global_step,
                epoch=f"{trainer.current_epoch + 1}/{trainer.max_epochs}",
                figures=_figures(trainer),
            )

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, _module: lightning.LightningModule
    ) -> None:
        """Say how the epoch went, where there is no bar."""
        if self._bars is None and trainer.is_global_zero:
            log.info(
                "epoch %d/%s %s", trainer.current_epoch + 1, trainer.max_epochs, _figures(trainer)
            )

    def teardown(
        self, _trainer: lightning.Trainer, _module: lightning.LightningModule, stage: str
    ) -> None:
        """Leave the terminal as it was, whatever ended the run."""
        if stage == "fit" and self._bars is not None:
            self._bars.stop()
            self._bars = None


def _figures(trainer: lightning.Trainer) -> str:
    figures = trainer.callback_metrics
    parts = [
        f"{title} {figures[name].item():.{digits}f}"
        for title, name, digits in (
            ("loss", "train/step_loss", 4),
            ("val loss", "validation/loss", 4),
            ("val accuracy", "validation/accuracy", 4),
        )
        if name in figures
    ]
    if trainer.optimizers:
        parts.append(f"lr {trainer.optimizers[0].param_groups[-1]['lr']:.1e}")
    return "  ".join(parts)
