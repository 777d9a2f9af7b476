"""Settings for photos that no recipe names."""

import shutil
from pathlib import Path

import pytest

from tests.unit.trainer.photos import write_photos
from trainer import default_recipe as default_recipe_module
from trainer.default_recipe import default_recipe
from trainer.errors import DataError, WeightsError
from trainer.run import Run

VERSION = Path("models/zoo/tiny-animals/1")


def test_defaults_follow_the_layout_and_the_size_of_the_photos(tmp_path: Path) -> None:
    data = write_photos(tmp_path / "My Photos (2)")
    recipe = default_recipe(data)
    assert (recipe.data.train, recipe.data.test) == (("train",), ("test",))
    assert (recipe.name, recipe.input.height) == ("my-photos-2", 64)
    flat = default_recipe(data / "train")
    assert (flat.data.train, flat.data.test, flat.data.test_fraction) == ((".",), (), 0.15)
    assert default_recipe(data, title="Trains & Cars").name == "trains-cars"
    with pytest.raises(DataError, match="holds no class folders"):
        default_recipe(data / "train" / "red")
    with pytest.raises(DataError, match="is no folder"):
        default_recipe(data / "nowhere")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "data") / "train"
    (photos / "red").rename(photos / "train")
    (photos / "blue").rename(photos / "test")
    recipe = default_recipe(photos)
    assert (recipe.data.train, recipe.data.test) == ((".",), ())


def test_weights_bring_their_network_and_their_input(photos: Path, finished_run: Run) -> None:
    recipe = default_recipe(photos, str(finished_run.folder))
    own = finished_run.recipe()
    assert recipe.input == own.input
    assert recipe.network.model_dump().items() >= {"depths": (1,), "widths": (8,)}.items()
    version = default_recipe(photos, str(VERSION))
    assert (version.network.name, version.input.height) == ("resnet", 64)
    assert version.network.weights == str(VERSION)


def test_weights_are_fine_tuned_the_head_first(photos: Path) -> None:
    scratch, transfer = default_recipe(photos), default_recipe(photos, "imagenet")
    assert (transfer.network.name, transfer.input.height) == ("resnet18", 224)
    assert (scratch.fit.head_epochs, transfer.fit.head_epochs) == (0, 1)
    assert transfer.fit.epochs < scratch.fit.epochs
    assert transfer.fit.max_learning_rate < scratch.fit.max_learning_rate


def test_a_folder_that_is_no_origin_of_weights_is_named(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="neither a run nor a published version"):
        default_recipe(photos, str(tmp_path))
    shutil.copytree(VERSION, tmp_path / "version")
    (tmp_path / "version" / "manifest.json").write_text("[]")
    with pytest.raises(WeightsError, match="neither a run nor a published version"):
        default_recipe(photos, str(tmp_path / "version"))


def test_few_photos_are_taken_in_small_batches() -> None:
    """353 photos in batches of 64 gave four steps an epoch, and a worse network."""
    sizes = [
        default_recipe_module._fit(count, transfer=True)["batch_size"] for count in (353, 5000)
    ]
    assert sizes == [16, 64]
