"""The recipe: everything that decides a training run, from one TOML file.

Every key is documented here; an unknown key is an error. Imports only the
artifact contract and pydantic.
"""

import json
import tomllib
from collections.abc import Sequence
from copy import deepcopy
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

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
    """``[data]``: which photos, relative to ``--data``, and how they are split."""

    dataset: Literal["cats-and-dogs-filtered", "animals10", "oxford-iiit-pet"] | None = None
    """The public data set to fetch when ``--data`` is not given."""
    layout: Literal["class-folders", "oxford-iiit-pet"] = "class-folders"
    """One folder for each class, or images/ and annotations/ as Oxford-IIIT Pet has them."""
    train: tuple[str, ...] = (".",)
    """Class folders: folders whose photos are trained on."""
    test: tuple[str, ...] = ()
    """Class folders: folders whose photos are scored at the end and decide nothing."""
    test_fraction: float = Field(default=0.0, ge=0.0, lt=0.9)
    """Share of each class set aside as test photos where there is no test folder.
    Oxford-IIIT Pet: 0 takes the official split, more a random one over all its photos."""
    validation_fraction: float = Field(gt=0.0, lt=0.5)
    """Share of each training class held out for choices and calibration."""
    only_listed: bool = False
    """Leave out class folders that ``[labels]`` does not name."""
    cache_side: int = Field(default=256, ge=32)
    """Photos are kept decoded, with at most this short side in pixels."""

    @model_validator(mode="after")
    def _one_test_set(self) -> Self:
        folders = self.layout == "class-folders"
        if folders and bool(self.test) == (self.test_fraction > 0):
            raise ValueError("give either test folders or a test_fraction")
        if not folders and (self.test or self.train != (".",)):
            raise ValueError(f"layout {self.layout} has no train and test folders")
        return self


class _NetworkSpec(_Section):
    weights: str = Field(default="none", min_length=1)
    """What the body starts from: "imagenet", a local file, or "none"; ``--weights`` overrides."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the head's inputs dropped in training."""


class SmallResNetSpec(_NetworkSpec):
    """``[network]`` name "resnet": ours, of any depth and width."""

    name: Literal["resnet"]
    """Which network."""
    depths: tuple[int, ...] = Field(min_length=1)
    """Residual blocks per stage."""
    widths: tuple[int, ...] = Field(min_length=1)
    """Channels per stage."""

    @model_validator(mode="after")
    def _stages(self) -> Self:
        if len(self.depths) != len(self.widths):
            raise ValueError("depths and widths must have one entry per stage")
        return self


class ResNet9Spec(_NetworkSpec):
    """``[network]`` name "resnet9": for small images, 6.6 million parameters at ten classes."""

    name: Literal["resnet9"]
    """Which network."""


class Vgg16Spec(_NetworkSpec):
    """``[network]`` name "vgg16": its convolutional base, average pooling, two dense layers."""

    name: Literal["vgg16"]
    """Which network."""
    hidden: int = Field(default=512, ge=1)
    """Units of the dense layer before the last."""


class TorchvisionResNetSpec(_NetworkSpec):
    """``[network]`` name "resnet18", "resnet34" or "resnet50", as in torchvision."""

    name: Literal["resnet18", "resnet34", "resnet50"]
    """Which network."""
    imagenet: Literal["IMAGENET1K_V1", "IMAGENET1K_V2"] = "IMAGENET1K_V1"
    """Which of torchvision's ImageNet weights "imagenet" means; V2 is of resnet50 only."""

    @model_validator(mode="after")
    def _published(self) -> Self:
        if self.imagenet == "IMAGENET1K_V2" and self.name != "resnet50":
            raise ValueError(f"torchvision has no IMAGENET1K_V2 weights for {self.name}")
        return self


NetworkSpec = Annotated[
    SmallResNetSpec | ResNet9Spec | Vgg16Spec | TorchvisionResNetSpec,
    Field(discriminator="name"),
]
"""``[network]``: the architecture."""


class AugmentSpec(_Section):
    """``[augment]``: what happens to training photos only."""

    crop_side: int | None = Field(default=None, ge=8)
    """Side of the training crops in pixels; the input's where it is not given."""
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
    clean_epochs: int = Field(default=0, ge=0)
    """Last epochs, in which photos are not mixed."""


class FitSpec(_Section):
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


class BackgroundSpec(_Section):
    """``[background]``: where the recipe comes from, for ``python -m trainer recipes``."""

    source: str
    """The system it follows."""
    source_result: str
    """What that system reports."""
    target: str
    """What the recipe is to reach."""
    expected_time: str
    """How long it takes, and on what."""


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
    abstain_risk: Share = 0.02
    """Share of its answers that may be wrong: decides the artifact's abstain threshold."""
    labels: dict[str, LabelSpec] = Field(default_factory=dict)
    """What class folders are called; a folder that is not listed keeps its name, and
    folders with the same id are one class."""
    background: BackgroundSpec | None = None
    data: DataSpec
    input: InputSpec
    network: NetworkSpec
    augment: AugmentSpec = AugmentSpec()
    fit: FitSpec

    @model_validator(mode="after")
    def _clean_epochs(self) -> Self:
        if self.augment.clean_epochs > self.fit.epochs:
            raise ValueError("augment.clean_epochs is more than fit.epochs")
        return self


def bundled_recipes() -> dict[str, Path]:
    """The recipes that come with the trainer, by name."""
    folder = Path(str(resources.files("trainer.recipes")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_recipe(reference: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by the name of a bundled one, or from a TOML file or a run's recipe.json.

    Args:
        reference: Name or path.
        overrides: ``key=value`` each, for example ``fit.epochs=3``; values as in TOML.

    Raises:
        RecipeError: No such recipe, not TOML or JSON, or a key is unknown or out of range.
    """
    path = bundled_recipes().get(reference, Path(reference))
    kind = "JSON" if path.suffix == ".json" else "TOML"
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if kind == "JSON" else tomllib.loads(text)
    except IsADirectoryError as error:
        raise RecipeError(
            f"{reference} is a folder: give photos as --data {reference}, and a recipe by name or"
            " not at all"
        ) from error
    except OSError as error:
        known = ", ".join(bundled_recipes())
        raise RecipeError(
            f"recipe {reference!r} is neither a bundled one ({known}) nor a readable file:"
            f" {error.strerror}"
        ) from error
    except ValueError as error:  # of tomllib, of json, or not UTF-8
        raise RecipeError(f"{path} is not a {kind} file: {error}") from error
    if not isinstance(document, dict):
        raise RecipeError(f"{path} holds no recipe")
    return parse_recipe(override(document, overrides), str(path))


def override(document: dict[str, object], overrides: Sequence[str]) -> dict[str, object]:
    """A copy of a recipe document with keys replaced or added.

    Raises:
        RecipeError: An override is not ``key=value``, or its key goes through a value.
    """
    result = deepcopy(document)
    for text in overrides:
        key, equals, value = text.partition("=")
        *sections, name = key.strip().split(".")
        if not (equals and name):
            raise RecipeError(f"--set takes key=value, for example fit.epochs=3, not {text!r}")
        section = result
        for part in sections:
            inner = section.setdefault(part, {})
            if not isinstance(inner, dict):
                raise RecipeError(f"--set {text}: {part} is not a section")
            section = inner
        section[name] = _toml_value(value)
    return result


def _toml_value(text: str) -> object:
    """A TOML value; what is none is a string, so that a path needs no quotes in quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def parse_recipe(document: dict[str, object], origin: str) -> Recipe:
    """Validate a recipe document; ``origin`` names it in messages.

    Raises:
        RecipeError: A key is unknown, missing or out of range.
    """
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        problems = "\n".join(f"  {_problem(problem)}" for problem in error.errors())
        raise RecipeError(f"{origin} is not a valid recipe:\n{problems}") from error


def _problem(problem: ErrorDetails) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{key}: {problem['msg'].removeprefix('Value error, ')}"
    near = get_close_matches(str(problem["loc"][-1]), _keys(), n=1)
    return f"{key}: there is no such key{f'; is it {near[0]}?' if near else ''}"


def _keys() -> list[str]:
    """The names of all keys, whatever section they are of."""
    schema = Recipe.model_json_schema()
    sections = [schema, *schema["$defs"].values()]
    return sorted({name for section in sections for name in section.get("properties", ())})
