"""``[fit]``: optimisation."""

from typing import Literal, Self

from pydantic import Field, model_validator

from trainer.recipe.section import Positive, Section, Share


class FitSpec(Section):
    """``[fit]``: optimisation."""

    epochs: int = Field(ge=1)
    """Passes over the training photos."""
    head_epochs: int = Field(default=0, ge=0)
    """The first of them, in which the body is frozen and only the head learns."""
    batch_size: int = Field(ge=1)
    """Photos per step, over all processes."""
    optimizer: Literal["adam", "adamw", "sgd"]
    """Adam, AdamW, or SGD with Nesterov momentum 0.9."""
    schedule: Literal["one-cycle", "plateau"] = "one-cycle"
    """One cycle with cosine ends that moves with each step (arXiv 1708.07120), for the frozen
    epochs and for the rest; or constant until the validation loss has stopped falling."""
    max_learning_rate: Positive
    """The head's, at its peak."""
    head_learning_rate: Positive | None = None
    """The head's peak while the body is frozen; max_learning_rate where it is not given."""
    discrimination: float = Field(default=1.0, gt=0.0, le=1.0)
    """The first layers' learning rate as a share of the head's, geometric in between
    (discriminative fine-tuning, arXiv 1801.06146)."""
    warmup_fraction: Share = 0.2
    """One-cycle: share of the steps in which the learning rate rises."""
    plateau_patience: int = Field(default=3, ge=1)
    """Plateau: epochs without a smaller validation loss after which the rate falls."""
    plateau_factor: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Plateau: what the rate is multiplied by."""
    early_stopping_patience: int = Field(default=0, ge=0)
    """Epochs without a smaller validation loss after which training stops; 0 turns it off."""
    best: Literal["validation/loss", "validation/accuracy"] = "validation/loss"
    """Which figure chooses the checkpoint that is kept as the best."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """On weights; biases and norms have none."""
    gradient_clip_norm: float = Field(default=0.0, ge=0.0)
    """Largest gradient norm; 0 turns clipping by norm off."""
    gradient_clip_value: float = Field(default=0.0, ge=0.0)
    """Largest absolute gradient; 0 turns clipping by value off."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the target spread over all classes."""
    ema_decay: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Decay of the exponential moving average of weights, reached over the first steps; 0 turns it
    off."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Arithmetic, in Lightning's words."""
    seed: int = Field(default=0, ge=0)
    """Of weights, order and augmentation."""
    deterministic: bool = False
    """Only kernels that repeat to the bit; slower on a GPU."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.head_epochs >= self.epochs:
            raise ValueError("head_epochs must leave at least one epoch for the whole network")
        if self.schedule == "one-cycle" and self.early_stopping_patience:
            raise ValueError("stopping early would skip the end of the one-cycle schedule")
        if self.schedule == "plateau" and self.head_epochs:
            raise ValueError("head_epochs needs the one-cycle schedule")
        if self.gradient_clip_norm and self.gradient_clip_value:
            raise ValueError("clip gradients by norm or by value, not both")
        return self
