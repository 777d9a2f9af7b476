from pathlib import Path

import pytest

from tests.unit.trainer.photos import write_photos
from trainer.data import default_cache, resolve_data
from trainer.errors import DataError
from trainer.recipe import DataSpec

FOLDERS = DataSpec(train=("train",), test=("test",), validation_fraction=0.25)
PETS = DataSpec(layout="oxford-iiit-pet", validation_fraction=0.25)


def test_a_folder_of_one_folder_and_a_stray_file_is_descended_into(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "archive" / "raw-img", per_class=4) / "train"
    (tmp_path / "archive" / "translate.py").write_text("translate = {}")
    spec = DataSpec(test_fraction=0.2, validation_fraction=0.2)
    assert resolve_data(tmp_path / "archive", spec, tmp_path) == photos.parent
    (photos.parent / "test").rename(tmp_path / "test")
    assert resolve_data(tmp_path / "archive", spec, tmp_path) == photos


def test_one_class_folder_is_not_taken_for_the_data(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", per_class=4) / "train"
    (photos / "red").rename(tmp_path / "red")
    spec = DataSpec(test_fraction=0.2, validation_fraction=0.2)
    assert resolve_data(photos, spec, tmp_path) == photos


def test_what_cannot_be_had_says_what_to_fetch_from_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")  # nobody listens on port 1
    for spec, message in (
        (FOLDERS.model_copy(update={"dataset": "cats-and-dogs-filtered"}),
         r"Fetch https://storage\.googleapis\.com/.*cats_and_dogs_filtered\.zip"),
        (PETS.model_copy(update={"dataset": "oxford-iiit-pet"}),
         r"images\.tar\.gz and .*annotations\.tar\.gz from the Visual Geometry Group"),
        (FOLDERS.model_copy(update={"dataset": "animals10"}), "needs a Kaggle account"),
        (FOLDERS, "names no public data set"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=message):
            resolve_data(None, spec, tmp_path / "cache")
    with pytest.raises(DataError, match="does not exist"):
        resolve_data(tmp_path / "nowhere", FOLDERS, tmp_path)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(DataError, match="neither a folder nor"):
        resolve_data(tmp_path / "photo.jpg", FOLDERS, tmp_path)


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MENAGERIE_CACHE", "/one")
    assert default_cache() == Path("/one")
    monkeypatch.delenv("MENAGERIE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert default_cache() == Path("/two/menagerie")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/three")
    assert default_cache() == Path("/three/.cache/menagerie")
