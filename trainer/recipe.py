"""The recipe: everything that decides a training run, from one TOML file.

Every key is documented here; an unknown key is an error. Imports only the
artifact contract and pydantic.
"""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.manifest import NAME_PATTERN, InputSpec
from trainer.errors import RecipeError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelSpec(_Section):
    """``[labels.FOLDER]``: what a class folder is called in answers."""

    id: str = Field(min_length=1)
    """Stable id, for example "cat"."""
    display_name: str = Field(min_length=1)
    """As people read it, for example "Cat"."""


class DataSpec(_Section):
    """``[data]``: folders of class folders, relative to ``--data``."""

    train: tuple[str, ...] = Field(min_length=1)
    """Folders whose photos are trained on."""
    test: tuple[str, ...] = Field(min_length=1)
    """Folders whose photos are scored at the end and decide nothing."""
    validation_fraction: float = Field(gt=0.0, lt=0.5)
    """Share of each training class held out for choices and calibration."""
    cache_side: int = Field(default=256, ge=32)
    """Photos are kept in memory, decoded, with at most this short side in pixels."""


class NetworkSpec(_Section):
    """``[network]``: the architecture."""

    name: Literal["resnet"]
    """Which network."""
    depths: tuple[int, ...] = Field(min_length=1)
    """Residual blocks per stage."""
    widths: tuple[int, ...] = Field(min_length=1)
    """Channels per stage."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of pooled features dropped in training."""

    @model_validator(mode="after")
    def _stages(self) -> Self:
        if len(self.depths) != len(self.widths):
            raise ValueError("depths and widths must have one entry per stage")
        return self


class AugmentSpec(_Section):
    """``[augment]``: what happens to training photos only."""

    crop_scale: tuple[Share, Share] = (0.35, 1.0)
    """Random-resized crop: area range as a share of the photo."""
    flip: bool = True
    """Mirror half of the photos."""
    trivial: bool = True
    """TrivialAugmentWide (arXiv 2103.10158)."""
    erasing: Share = 0.0
    """Probability of random erasing (arXiv 1708.04896)."""
    mixup_alpha: float = Field(default=0.0, ge=0.0)
    """MixUp's beta parameter (arXiv 1710.09412); 0 turns it off."""
    cutmix_alpha: float = Field(default=0.0, ge=0.0)
    """CutMix's beta parameter (arXiv 1905.04899); 0 turns it off."""


class FitSpec(_Section):
    """``[fit]``: optimisation. AdamW or SGD under a one-cycle schedule (arXiv 1708.07120)."""

    epochs: int = Field(ge=1)
    """Passes over the training photos."""
    batch_size: int = Field(ge=1)
    """Photos per step."""
    optimizer: Literal["adamw", "sgd"]
    """AdamW, or SGD with Nesterov momentum 0.9."""
    max_learning_rate: Positive
    """Peak of the one-cycle schedule."""
    warmup_fraction: Share = 0.2
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """On weights; biases and norms have none."""
    gradient_clip_norm: float = Field(default=0.0, ge=0.0)
    """Largest gradient norm; 0 turns clipping off."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the target spread over all classes."""
    ema_decay: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Decay of the exponential moving average of weights; 0 turns it off."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Arithmetic, in Lightning's words."""
    seed: int = 0
    """Of weights, order and augmentation."""


class Recipe(_Section):
    """A training run, described."""

    name: str = Field(pattern=NAME_PATTERN)
    """The recipe's name; its runs go to ``runs/<name>/``."""
    model: str = Field(pattern=NAME_PATTERN)
    """The name under which the result is published."""
    description: str
    """One sentence for people."""
    minimum_accuracy: Share = 0.0
    """``publish`` refuses a first version below this accuracy on the test photos."""
    labels: dict[str, LabelSpec] = Field(default_factory=dict)
    """What class folders are called; a folder that is not listed keeps its name."""
    data: DataSpec
    input: InputSpec
    network: NetworkSpec
    augment: AugmentSpec = AugmentSpec()
    fit: FitSpec


def bundled_recipes() -> dict[str, Path]:
    """The recipes that come with the trainer, by name."""
    folder = Path(str(resources.files("trainer.recipes")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_recipe(reference: str) -> Recipe:
    """Read a recipe by the name of a bundled one or by the path of a TOML file.

    Raises:
        RecipeError: No such recipe, not TOML, or a key is unknown or out of range.
    """
    path = bundled_recipes().get(reference, Path(reference))
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(bundled_recipes())
        raise RecipeError(
            f"recipe {reference!r} is neither a bundled one ({known}) nor a readable file:"
            f" {error.strerror}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not a TOML file: {error}") from error
    return parse_recipe(document, str(path))


def parse_recipe(document: dict[str, object], origin: str) -> Recipe:
    """Validate a recipe document; ``origin`` names it in messages.

    Raises:
        RecipeError: A key is unknown, missing or out of range.
    """
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        problems = "\n".join(
            f"  {'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        )
        raise RecipeError(f"{origin} is not a valid recipe:\n{problems}") from error
