"""How the audit's networks are trained."""

from dataclasses import dataclass
from pathlib import Path

from trainer.data import class_photos
from trainer.default_recipe import default_recipe
from trainer.fit import without_idle_epochs
from trainer.recipe import Recipe, override, parse_recipe

_BATCH = 32  # smaller than for ``fit``: a fold has few steps to learn in
_FEWEST_EPOCHS = 3


@dataclass(frozen=True)
class _Judge:
    """How long and how finely a fold is trained; docs/audit.md has the figures behind it.

    Attributes:
        side: Pixels; less where the photos are smaller.
        photos: Seen by a fold's network in all epochs together, as a rule.
        most_epochs: Of them.
        max_learning_rate: At its peak.
    """

    side: int
    photos: int
    most_epochs: int
    max_learning_rate: float


_FROM_SCRATCH = _Judge(side=64, photos=50_000, most_epochs=25, max_learning_rate=4e-3)
_FROM_WEIGHTS = _Judge(side=96, photos=20_000, most_epochs=10, max_learning_rate=1e-3)


def audit_recipe(root: Path, weights: str = "none", epochs: int | None = None) -> Recipe:
    """The default recipe of ``root``, made quick: a fold needs a fair judge, not the best one.

    MixUp and label smoothing are off: they blur the very scores that tell a wrong label.

    Args:
        root: The data folder.
        weights: As for ``fit``. The network is that of the weights.
        epochs: Of each fold; by the number of photos where it is not given.

    Raises:
        DataError: There are no class folders with photos.
        WeightsError: ``weights`` is a folder, and neither a run's nor a version's.
    """
    recipe = default_recipe(root, weights)
    judge = _FROM_SCRATCH if weights == "none" else _FROM_WEIGHTS
    side = min(judge.side, recipe.input.height)
    photos = sum(len(class_photos(root / folder)) for folder in recipe.data.train)
    by_size = max(_FEWEST_EPOCHS, min(judge.most_epochs, round(judge.photos / photos)))
    overrides = [
        f"input.height={side}",
        f"input.width={side}",
        f"data.cache_side={round(side * 1.375)}",
        f"fit.epochs={epochs or by_size}",
        f"fit.head_epochs={min(recipe.fit.head_epochs, (epochs or by_size) - 1)}",
        f"fit.batch_size={min(_BATCH, recipe.fit.batch_size)}",
        f"fit.max_learning_rate={judge.max_learning_rate}",
        "fit.label_smoothing=0.0",
        "augment.mixup_alpha=0.0",
        "augment.erasing=0.0",
        "augment.trivial=false",
        "augment.crop_scale=[0.5, 1.0]",
    ]
    if weights == "none":
        overrides += ["network.depths=[1, 1, 1, 1]", "network.widths=[24, 48, 96, 192]"]
    document = override(recipe.model_dump(mode="json"), overrides)
    return parse_recipe(document, "the audit's recipe")


def shortened(recipe: Recipe, epochs: int | None) -> Recipe:
    """A recipe as each fold is trained: in ``epochs``, its own number where none is given.

    Phases that no longer fit are cut: frozen epochs leave one for the whole network.
    """
    total = epochs or recipe.fit.epochs
    frozen = min(recipe.fit.head_epochs, total - 1)
    clean = min(recipe.augment.clean_epochs, total)
    augment = recipe.augment.model_copy(update={"clean_epochs": clean})
    shorter = recipe.with_fit(epochs=total, head_epochs=frozen)
    return without_idle_epochs(shorter.model_copy(update={"augment": augment}))
