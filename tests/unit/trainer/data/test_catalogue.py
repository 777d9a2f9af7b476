import shutil
from pathlib import Path

import pytest
import torch

from tests.unit.trainer.photos import write_photos, write_recipe
from trainer.data import (
    catalogue,
    fingerprint,
    read_evaluation,
    read_training,
    without_duplicates,
)
from trainer.errors import DataError
from trainer.recipe import Recipe, load_recipe


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "data", per_class=8)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return load_recipe(str(write_recipe(tmp_path / "recipe.toml")))


def test_the_split_is_stratified_disjoint_and_repeatable(root: Path, recipe: Recipe) -> None:
    photos = catalogue(root, recipe.data, seed=1)
    assert photos.classes == ("blue", "red")
    assert [photo.label for photo in photos.validation] == [0, 0, 1, 1]
    assert set(photos.train).isdisjoint(photos.validation)
    assert len(photos.train) == 12
    assert photos == catalogue(root, recipe.data, seed=1)
    assert photos.validation != catalogue(root, recipe.data, seed=2).validation


def test_an_unreadable_photo_is_listed_and_left_out(root: Path, recipe: Recipe) -> None:
    broken = root / "test" / "red" / "0.jpg"
    broken.write_bytes(b"no image")
    photos = read_evaluation(catalogue(root, recipe.data, 0).test, recipe.input)
    assert [item.path for item in photos.unreadable] == [broken]
    assert "not a JPEG" in photos.unreadable[0].reason
    assert photos.inputs.shape == (15, 3, 32, 32)
    assert photos.inputs.dtype == torch.uint8
    assert len(photos.labels) == len(photos.paths) == len(photos.digests) == 15


def test_training_photos_are_reduced_to_the_cache_side(root: Path, recipe: Recipe) -> None:
    training = read_training(catalogue(root, recipe.data, 0).train, cache_side=20)
    assert {tuple(image.shape) for image in training.images} == {(3, 20, 24)}


def test_held_out_files_are_taken_from_the_training_photos(root: Path, recipe: Recipe) -> None:
    training = read_training(catalogue(root, recipe.data, 0).train, cache_side=32)
    remaining, left_out = without_duplicates(training, {training.digests[3]})
    assert left_out == 1
    assert remaining.digests == training.digests[:3] + training.digests[4:]
    assert len(remaining.images) == len(remaining.labels) == 11


def test_the_fingerprint_ignores_the_order() -> None:
    assert fingerprint(["a", "b"]) == fingerprint(["b", "a"]) != fingerprint(["a", "c"])


def test_a_missing_folder_is_named(root: Path, recipe: Recipe) -> None:
    shutil.rmtree(root / "train")
    with pytest.raises(DataError, match="train is missing"):
        catalogue(root, recipe.data, 0)


def test_one_class_is_not_enough(root: Path, recipe: Recipe) -> None:
    shutil.rmtree(root / "train" / "red")
    with pytest.raises(DataError, match="1 class"):
        catalogue(root, recipe.data, 0)


def test_an_empty_class_is_named(root: Path, recipe: Recipe) -> None:
    for photo in (root / "test" / "blue").iterdir():
        photo.unlink()
    with pytest.raises(DataError, match="'blue' has no photo in test"):
        catalogue(root, recipe.data, 0)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_listed_photos_are_left_out(mark: str, root: Path, recipe: Recipe, tmp_path: Path) -> None:
    listing = tmp_path / "exclude.csv"
    listing.write_text(f"{mark}path,why\ntrain/red/0.jpg,blurred\n\n,no path\n", encoding="utf-8")
    left_out = root / "train" / "red" / "0.jpg"
    photos = catalogue(root, recipe.data, 0, exclude=listing)
    assert left_out not in {photo.path for photo in (*photos.train, *photos.validation)}
    assert len(photos.train) + len(photos.validation) == 15


@pytest.mark.parametrize("content", ["", "file,why\n", "\n"])
def test_a_list_without_paths_is_refused(
    content: str, root: Path, recipe: Recipe, tmp_path: Path
) -> None:
    listing = tmp_path / "exclude.csv"
    listing.write_text(content)
    with pytest.raises(DataError, match="is no CSV file with a column 'path'"):
        catalogue(root, recipe.data, 0, exclude=listing)
