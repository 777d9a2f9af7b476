"""Plateau and early stopping count epochs as Keras does."""

from types import SimpleNamespace
from typing import cast

import pytest
import pytorch_lightning as lightning
import torch

from trainer.callbacks import LossGuard, Plateau
from trainer.errors import RunError


def trainer_with(optimizer: torch.optim.Optimizer) -> SimpleNamespace:
    return SimpleNamespace(optimizers=[optimizer], callback_metrics={})


def rates_over(losses: list[float], callback: Plateau) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    trainer = trainer_with(optimizer)
    module = cast(lightning.LightningModule, None)
    callback.on_train_start(cast(lightning.Trainer, trainer), module)
    rates = []
    for loss in losses:
        trainer.callback_metrics["validation/loss"] = torch.tensor(loss)
        callback.on_train_epoch_end(cast(lightning.Trainer, trainer), module)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def test_the_third_epoch_without_a_smaller_loss_lowers_the_rate() -> None:
    # Keras, ReduceLROnPlateau(patience=3): after an epoch that is best, the third that is not.
    losses = [1.0, 0.9, 0.9, 0.95, 0.91, 0.92, 0.8]
    rates = rates_over(losses, Plateau(patience=3, factor=0.1))
    assert rates == pytest.approx([1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1])


def test_a_resumed_plateau_goes_on_counting() -> None:
    first = Plateau(patience=3, factor=0.1)
    rates_over([1.0, 1.1, 1.1], first)
    second = Plateau(patience=3, factor=0.1)
    second.load_state_dict(first.state_dict())
    assert rates_over([1.1], second) == pytest.approx([0.1])


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run(loss: float) -> None:
    trainer = cast(lightning.Trainer, SimpleNamespace(num_training_batches=7, current_epoch=2))
    module, batch = cast(lightning.LightningModule, None), (torch.zeros(0), torch.zeros(0))
    guard = LossGuard()
    guard.on_train_batch_end(trainer, module, {"loss": torch.tensor(loss)}, batch, 3)
    with pytest.raises(RunError, match="in epoch 3; try a smaller max_learning_rate"):
        guard.on_train_batch_end(trainer, module, {"loss": torch.tensor(loss)}, batch, 6)
