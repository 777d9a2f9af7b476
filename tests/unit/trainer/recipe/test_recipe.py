"""What must hold between keys, and what one key says of another."""

from pathlib import Path

import pytest

from tests.unit.trainer.photos import write_recipe
from trainer.errors import RecipeError
from trainer.recipe import load_recipe


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("fit.head_epochs=4", "head_epochs must leave"),
        ("fit.early_stopping_patience=3", "would skip the end"),
        ("fit.gradient_clip_norm=1.0", "by norm or by value"),
        ("data.test_fraction=0.1", "either test folders or a test_fraction"),
        ("augment.clean_epochs=5", "more than fit.epochs"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(
    override: str, message: str, tmp_path: Path
) -> None:
    recipe_file = str(write_recipe(tmp_path / "tiny.toml"))
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe_file, ["fit.gradient_clip_value=0.1", override])


def test_animals10_is_named_in_english_unless_the_recipe_names_it() -> None:
    labels = load_recipe("animals10-resnet9").labels
    assert len(labels) == 20  # Italian folders and English ones
    assert len({spec.id for spec in labels.values()}) == 10
    assert labels["farfalla"] == labels["butterfly"]
    assert (labels["cane"].id, labels["cane"].display_name) == ("dog", "Dog")
    own = load_recipe("animals10-resnet9", ['labels.cane={id="hound",display_name="Hound"}'])
    assert list(own.labels) == ["cane"]
