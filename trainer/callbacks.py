"""What watches a training loop besides Lightning's own callbacks."""

import time
from types import FrameType

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from trainer.augment import Batch
from trainer.errors import RunError

_STEPS_BETWEEN_CHECKS = 50  # reading the loss makes a GPU wait


class Plateau(Callback):
    """Multiply the learning rates by ``factor`` after ``patience`` epochs without a new best.

    Counts as Keras does: with patience 3 the third such epoch lowers the rate. PyTorch's own
    scheduler counts one more. A callback, because Lightning steps metric-based schedulers
    after it has saved the checkpoint, so that a resumed run would miss an epoch.

    Args:
        patience: Epochs.
        factor: What the rates are multiplied by.
    """

    def __init__(self, patience: int, factor: float) -> None:
        self._patience = patience
        self._factor = factor
        self._scheduler: ReduceLROnPlateau | None = None
        self._resumed: dict[str, object] | None = None

    def on_train_start(
        self, trainer: lightning.Trainer, _module: lightning.LightningModule
    ) -> None:
        """Attach to the optimiser."""
        self._scheduler = ReduceLROnPlateau(
            trainer.optimizers[0], factor=self._factor, patience=self._patience - 1, threshold=0.0
        )
        if self._resumed is not None:
            self._scheduler.load_state_dict(self._resumed)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, _module: lightning.LightningModule
    ) -> None:
        """Look at the validation loss."""
        if self._scheduler is not None:
            self._scheduler.step(trainer.callback_metrics["validation/loss"].item())

    def state_dict(self) -> dict[str, object]:
        """The count and the best loss so far."""
        return {} if self._scheduler is None else self._scheduler.state_dict()

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Go on where a killed run stopped."""
        self._resumed = state_dict


class LossGuard(Callback):
    """Stop a run whose loss is no longer a number, soon after it happens."""

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        _module: lightning.LightningModule,
        outputs: object,
        _batch: Batch,
        batch_index: int,
    ) -> None:
        """Check now and then, and at each epoch's last batch.

        Raises:
            RunError: The loss is NaN or infinite.
        """
        last = batch_index + 1 == trainer.num_training_batches
        if not last and batch_index % _STEPS_BETWEEN_CHECKS:
            return
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor) and not torch.isfinite(loss):
            raise RunError(
                f"the training loss became {loss.item()} in epoch {trainer.current_epoch + 1};"
                " try a smaller max_learning_rate or clip gradients"
            )


class StopRequest(Callback):
    """Turns a signal into an interruption between two steps.

    An exception raised by a signal wherever the program happens to be may be swallowed there,
    for example in a finaliser; a second signal raises one all the same.

    Attributes:
        requested: Whether a signal has come.
    """

    def __init__(self) -> None:
        self.requested = False

    def request(self, _number: int, _frame: FrameType | None) -> None:
        """The signal handler.

        Raises:
            KeyboardInterrupt: This is not the first signal.
        """
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def on_train_batch_end(
        self,
        _trainer: lightning.Trainer,
        _module: lightning.LightningModule,
        _outputs: object,
        _batch: Batch,
        _batch_index: int,
    ) -> None:
        """Stop here if it was asked for.

        Raises:
            KeyboardInterrupt: It was.
        """
        if self.requested:
            raise KeyboardInterrupt


class WaitMeter(Callback):
    """Logs ``train/wait_share``: the share of an epoch spent waiting for photos."""

    def __init__(self) -> None:
        self._waited_s = 0.0
        self._epoch_began = 0.0
        self._idle_since = 0.0

    def on_train_epoch_start(
        self, _trainer: lightning.Trainer, _module: lightning.LightningModule
    ) -> None:
        """Start the clocks."""
        self._waited_s = 0.0
        self._epoch_began = self._idle_since = time.perf_counter()

    def on_train_batch_start(
        self,
        _trainer: lightning.Trainer,
        _module: lightning.LightningModule,
        _batch: Batch,
        _batch_index: int,
    ) -> None:
        """A batch has come."""
        self._waited_s += time.perf_counter() - self._idle_since

    def on_train_batch_end(
        self,
        _trainer: lightning.Trainer,
        _module: lightning.LightningModule,
        _outputs: object,
        _batch: Batch,
        _batch_index: int,
    ) -> None:
        """The next one is waited for from now on."""
        self._idle_since = time.perf_counter()

    def on_train_epoch_end(
        self, _trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        """Log the share."""
        elapsed = max(1e-9, self._idle_since - self._epoch_began)
        module.log("train/wait_share", self._waited_s / elapsed)
