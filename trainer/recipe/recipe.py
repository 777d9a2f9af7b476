"""A whole recipe: its sections, and what must hold between them."""

from typing import Self

from pydantic import Field, model_validator

from models.manifest import NAME_PATTERN, InputSpec
from trainer.recipe.augment import AugmentSpec
from trainer.recipe.data import DataSpec, LabelSpec, known_labels
from trainer.recipe.fit import FitSpec
from trainer.recipe.network import NetworkSpec
from trainer.recipe.section import Section, Share


class BackgroundSpec(Section):
    """``[background]``: where the recipe comes from, for ``python -m trainer recipes``."""

    source: str
    """The system it follows."""
    source_result: str
    """What that system reports."""
    target: str
    """What the recipe is to reach."""
    expected_time: str
    """How long it takes, and on what."""


class Recipe(Section):
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
    folders with the same id are one class. Without any, those known of ``data.dataset``."""
    background: BackgroundSpec | None = None
    data: DataSpec
    input: InputSpec
    network: NetworkSpec
    augment: AugmentSpec = AugmentSpec()
    fit: FitSpec

    @model_validator(mode="after")
    def _named(self) -> Self:
        known = known_labels(self.data.dataset)
        if known and not self.labels:
            self.labels.update(known)  # the one moment in which a recipe may change
        return self

    def with_fit(self, **changes: object) -> Self:
        """With other values under ``[fit]``, which are not validated."""
        return self.model_copy(update={"fit": self.fit.model_copy(update=changes)})

    @model_validator(mode="after")
    def _clean_epochs(self) -> Self:
        if self.augment.clean_epochs > self.fit.epochs:
            raise ValueError("augment.clean_epochs is more than fit.epochs")
        return self
