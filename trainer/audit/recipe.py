"""How the audit's networks are trained where nobody says otherwise."""

from pathlib import Path

from trainer.default_recipe import default_recipe
from trainer.recipe import Recipe, override, parse_recipe

_MOST_EPOCHS = 12
_SIDE = 96


def audit_recipe(root: Path, weights: str = "none", epochs: int | None = None) -> Recipe:
    """The default recipe of ``root``, shortened: a fold needs a fair judge, not the best one.

    MixUp and label smoothing are off: they blur the very scores that tell a wrong label.

    Raises:
        DataError: There are no class folders with photos.
    """
    recipe = default_recipe(root)
    side = min(_SIDE, recipe.input.height)
    chosen = epochs or min(_MOST_EPOCHS, recipe.fit.epochs)
    overrides = [
        f"input.height={side}",
        f"input.width={side}",
        f"data.cache_side={round(side * 1.375)}",
        f"fit.epochs={chosen}",
        "fit.max_learning_rate=2e-3",
        "fit.label_smoothing=0.0",
        "augment.mixup_alpha=0.0",
        "augment.erasing=0.0",
        f"network.weights={weights}",
    ]
    document = override(recipe.model_dump(mode="json"), overrides)
    return parse_recipe(document, "the audit's recipe")
