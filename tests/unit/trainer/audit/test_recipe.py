from pathlib import Path

import pytest

from trainer.audit.recipe import audit_recipe, shortened
from trainer.errors import WeightsError
from trainer.recipe import load_recipe
from trainer.run import Run


def test_the_default_judge_is_small(photos: Path) -> None:
    recipe = audit_recipe(photos)
    assert (recipe.fit.epochs, recipe.input.height, recipe.augment.mixup_alpha) == (25, 64, 0.0)
    assert audit_recipe(photos, epochs=2).fit.epochs == 2


def test_the_judge_of_given_weights_has_their_network(photos: Path, finished_run: Run) -> None:
    recipe = audit_recipe(photos, str(finished_run.folder))
    own = finished_run.recipe().network
    expected = own.model_copy(update={"weights": str(finished_run.folder), "dropout": 0.2})
    assert recipe.network == expected
    assert (recipe.input.height, recipe.fit.head_epochs) == (32, 1)
    assert audit_recipe(photos, str(finished_run.folder), epochs=1).fit.head_epochs == 0
    assert audit_recipe(photos, "imagenet").network.name == "resnet18"
    with pytest.raises(WeightsError, match="neither a run nor a published version"):
        audit_recipe(photos, str(photos))


@pytest.mark.parametrize(
    ("name", "weights", "epochs", "frozen", "clean"),
    [
        ("pets-resnet34", "imagenet", 1, 0, 1),
        ("pets-resnet34", "imagenet", 2, 1, 1),
        ("pets-resnet34", "none", 4, 0, 1),
        ("animals10-resnet9-best", "none", 2, 0, 2),
    ],
)
def test_phases_that_no_longer_fit_are_cut(
    name: str, weights: str, epochs: int, frozen: int, clean: int
) -> None:
    recipe = shortened(load_recipe(name, [f"network.weights={weights}"]), epochs)
    cut = (recipe.fit.epochs, recipe.fit.head_epochs, recipe.augment.clean_epochs)
    assert cut == (epochs, frozen, clean)


def test_a_recipe_keeps_its_epochs_unless_told() -> None:
    assert shortened(load_recipe("pets-resnet34"), None) == load_recipe("pets-resnet34")
