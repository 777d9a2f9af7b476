"""The training step: what is optimised, how, and what is measured meanwhile."""

from typing import cast

import pytorch_lightning as lightning
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics.classification import MulticlassAccuracy

from trainer.augment import Batch, mix
from trainer.networks import build
from trainer.normalize import Normalize
from trainer.optimizer import optimizer_of
from trainer.recipe import Recipe
from trainer.schedule import Phases
from trainer.seeds import seed_of


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
        self.training_accuracy = MulticlassAccuracy(classes, average="micro")
        self.validation_accuracy = MulticlassAccuracy(classes, average="micro")

    @property
    def body_is_frozen(self) -> bool:
        """Whether only the head learns in this epoch."""
        return self.current_epoch < self.recipe.fit.head_epochs

    def on_train_epoch_start(self) -> None:
        """Keep the batch norms of a frozen body as they are."""
        if self.body_is_frozen:
            for stage in self.network.body_stages():
                stage.eval()
        else:
            self.network.train()

    def on_train_batch_start(self, _batch: Batch, _index: int) -> None:
        """Draw dropout and mixing from the seed and the step alone, so that resuming repeats it."""
        torch.manual_seed(seed_of(self.recipe.fit.seed, self.global_step, self.global_rank))

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """One step's loss, a scalar."""
        images, labels = batch
        inputs, targets = self._mixed(self.normalize(images), labels)
        logits = self._logits(inputs)
        loss = nn.functional.cross_entropy(
            logits, targets, label_smoothing=self.recipe.fit.label_smoothing
        )
        self.training_accuracy(logits, labels)
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[-1]["lr"])
        self.log("train/step_loss", loss)
        self.log("train/loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        # Of mixed photos, the label they show most of may not be the one they are listed under.
        self.log("train/accuracy", self.training_accuracy, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Log loss (nats) and accuracy over the held-out photos."""
        images, labels = batch
        logits = self._logits(self.normalize(images)).float()
        self.validation_accuracy(logits, labels)
        loss = nn.functional.cross_entropy(logits, labels)
        self.log("validation/loss", loss, sync_dist=True)
        self.log("validation/accuracy", self.validation_accuracy)

    def configure_optimizers(self) -> Optimizer | OptimizerLRSchedulerConfig:
        """The recipe's optimiser; under one-cycle, with a schedule that moves with each step."""
        fit = self.recipe.fit
        optimizer = optimizer_of(fit, self.network)
        if fit.schedule == "plateau":
            return optimizer  # trainer.callbacks.Plateau lowers its rates
        phases = self._phases()
        parts = [group["part"] for group in optimizer.param_groups]
        schedule = LambdaLR(
            optimizer, [phases.head if part == "head" else phases.body for part in parts]
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _phases(self) -> Phases:
        fit = self.recipe.fit
        total = int(self.trainer.estimated_stepping_batches)
        return Phases(
            head_steps=total // fit.epochs * fit.head_epochs,
            total_steps=total,
            warmup=fit.warmup_fraction,
            head_peak=(fit.head_learning_rate or fit.max_learning_rate) / fit.max_learning_rate,
        )

    def _mixed(self, inputs: Tensor, labels: Tensor) -> Batch:
        augment = self.recipe.augment
        if self.current_epoch >= self.recipe.fit.epochs - augment.clean_epochs:
            return inputs, labels
        return mix(inputs, labels, augment, self.classes)

    def _logits(self, inputs: Tensor) -> Tensor:
        laid_out = inputs.contiguous(memory_format=torch.channels_last)
        if self.training and self.body_is_frozen:
            # No gradient reaches the body, so nothing of it is computed backwards. Switching
            # requires_grad instead would leave it out of DDP's reduction for good.
            with torch.no_grad():
                features = self.network.features(laid_out)
            return self.network.head(features)
        return cast(Tensor, self.network(laid_out))
