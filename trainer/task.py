"""The training step: what is optimised, how, and what is measured meanwhile."""

from collections.abc import Iterable
from typing import cast

import pytorch_lightning as lightning
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from torchmetrics.classification import MulticlassAccuracy

from trainer.augment import Batch, mix
from trainer.networks import build
from trainer.normalize import Normalize
from trainer.recipe import FitSpec, Recipe


class ClassificationTask(lightning.LightningModule):
    """Cross-entropy on augmented photos; loss and accuracy on held-out ones.

    Batches are (uint8 [b, 3, h, w], int64 [b]).
    """

    def __init__(self, recipe: Recipe, classes: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.classes = classes
        self.normalize = Normalize(recipe.input.mean, recipe.input.std)
        self.network = build(recipe.network, classes).to(memory_format=torch.channels_last)
        self.validation_accuracy = MulticlassAccuracy(classes, average="micro")

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """One step's loss, a scalar."""
        images, labels = batch
        inputs, targets = mix(self.normalize(images), labels, self.recipe.augment, self.classes)
        loss = nn.functional.cross_entropy(
            self._logits(inputs), targets, label_smoothing=self.recipe.fit.label_smoothing
        )
        self.log("train/loss", loss, prog_bar=True, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Log loss (nats) and accuracy over the held-out photos."""
        images, labels = batch
        logits = self._logits(self.normalize(images)).float()
        self.validation_accuracy(logits, labels)
        self.log("validation/loss", nn.functional.cross_entropy(logits, labels), prog_bar=True)
        self.log("validation/accuracy", self.validation_accuracy, prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW or SGD under a one-cycle schedule that moves with each step."""
        fit = self.recipe.fit
        optimizer = _optimizer(fit, self.network)
        schedule = OneCycleLR(
            optimizer,
            max_lr=fit.max_learning_rate,
            total_steps=int(self.trainer.estimated_stepping_batches),
            pct_start=fit.warmup_fraction,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _logits(self, inputs: Tensor) -> Tensor:
        return cast(Tensor, self.network(inputs.contiguous(memory_format=torch.channels_last)))


def _optimizer(fit: FitSpec, network: nn.Module) -> Optimizer:
    groups = [
        {"params": _select(network, decayed=True), "weight_decay": fit.weight_decay},
        {"params": _select(network, decayed=False), "weight_decay": 0.0},
    ]
    if fit.optimizer == "sgd":
        return SGD(groups, lr=fit.max_learning_rate, momentum=0.9, nesterov=True)
    return AdamW(groups, lr=fit.max_learning_rate)


def _select(network: nn.Module, *, decayed: bool) -> Iterable[nn.Parameter]:
    """Weights of convolutions and linear layers have more than one dimension."""
    return [parameter for parameter in network.parameters() if (parameter.ndim > 1) == decayed]
