"""Reading a recipe: names, files, overrides, and what is said of mistakes."""

import re
from pathlib import Path

import pytest

from tests.unit.trainer.photos import RECIPE
from trainer.errors import RecipeError
from trainer.recipe import bundled_recipes, load_recipe


@pytest.mark.parametrize("name", bundled_recipes())
def test_bundled_recipes_are_valid_and_named_as_their_file(name: str) -> None:
    assert load_recipe(name).name == name


def test_overrides_replace_keys_and_are_checked() -> None:
    overrides = ["fit.epochs=3", "network.weights=some/file.pth", "augment.crop_scale=[0.5, 1.0]"]
    recipe = load_recipe("cats-vs-dogs-small", overrides)
    assert (recipe.fit.epochs, recipe.network.weights) == (3, "some/file.pth")
    assert recipe.augment.crop_scale == (0.5, 1.0)
    for wrong, message in (
        ("fit.epoch=3", r"fit\.epoch: there is no such key; is it epochs\?"),
        ("network.wdths=[3]", "is it widths"),
        ("epochs", "key=value"),
        ("fit.epochs.x=1", "epochs is not a section"),
        ("fit.epochs=many", "fit.epochs"),
    ):
        with pytest.raises(RecipeError, match=message):
            load_recipe("cats-vs-dogs-small", [wrong])


@pytest.mark.parametrize(
    ("pattern", "replacement", "key"),
    [
        ("epochs = 4", "epochs = 4\nepoch = 3", "fit.epoch"),
        ("epochs = 4", "epochs = 0", "fit.epochs"),
        ("epochs = 4", "", "fit.epochs"),
        ("depths = .*", "depths = [1, 2]", "network"),
        ('name = "tiny"', 'name = "../tiny"', "name"),
        ("std = .*", "std = [0.0, 1.0, 1.0]", "input.std"),
        ("validation_fraction = .*", "validation_fraction = 1.5", "data.validation_fraction"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, pattern: str, replacement: str, key: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(re.sub(pattern, replacement, RECIPE.format(floor=0), count=1))
    with pytest.raises(RecipeError, match=re.escape(f"  {key}")):
        load_recipe(str(path))


def test_what_is_not_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("name = ")
    with pytest.raises(RecipeError, match="not a TOML file"):
        load_recipe(str(path))


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="cats-vs-dogs-small"):
        load_recipe("nothing")


def test_a_runs_own_recipe_is_one(tmp_path: Path) -> None:
    recipe = load_recipe("pets-resnet34", ["fit.epochs=3"])
    path = tmp_path / "recipe.json"
    path.write_text(recipe.model_dump_json(indent=2))
    assert load_recipe(str(path)) == recipe
    path.write_text("[1]")
    with pytest.raises(RecipeError, match="holds no recipe"):
        load_recipe(str(path))
    path.write_text("{")
    with pytest.raises(RecipeError, match="not a JSON file"):
        load_recipe(str(path))


def test_photos_given_in_the_place_of_a_recipe_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"give photos as --data {tmp_path}"):
        load_recipe(str(tmp_path))
