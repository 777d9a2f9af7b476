import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.unit.trainer.photos import write_photos
from trainer.data import catalogue, default_cache, resolve_data
from trainer.errors import DataError
from trainer.recipe import DataSpec

FOLDERS = DataSpec(train=("train",), test=("test",), validation_fraction=0.25)
PETS = DataSpec(layout="oxford-iiit-pet", validation_fraction=0.25)


def zipped(folder: Path, file: Path, prefix: str) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*.jpg")):
            archive.write(path, f"{prefix}{path.relative_to(folder)}")
        archive.writestr("__MACOSX/._junk", "")
    return file


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_unpacked_once_and_descended_into(kind: str, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", per_class=4)
    file = tmp_path / f"photos.{kind}"
    if kind == "zip":
        zipped(photos, file, "outer/inner/")
    else:
        with tarfile.open(file, "w:gz") as archive:
            archive.add(photos, "outer/inner")
    cache = tmp_path / "cache"
    root = resolve_data(file, FOLDERS, cache)
    assert root.name == "inner"
    assert len(catalogue(root, FOLDERS, 0).test) == 8
    (root / "mark").touch()
    assert (resolve_data(file, FOLDERS, cache) / "mark").exists()
    assert [entry.name for entry in cache.iterdir() if "part" in entry.name] == []


def test_a_hostile_archive_writes_nothing_outside(tmp_path: Path) -> None:
    file = tmp_path / "evil.tar"
    with tarfile.open(file, "w") as archive:
        member = tarfile.TarInfo("../../escaped.jpg")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(DataError, match="is damaged, or no archive"):
        resolve_data(file, FOLDERS, tmp_path / "deep" / "cache")
    assert not list(tmp_path.rglob("escaped.jpg"))
    file = tmp_path / "evil.zip"
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("../../escaped.jpg", "evil")
        packed.writestr("/absolute.jpg", "evil")
    root = resolve_data(file, DataSpec(test_fraction=0.2, validation_fraction=0.2), tmp_path / "c")
    assert {path.name for path in root.rglob("*.jpg")} == {"escaped.jpg", "absolute.jpg"}
    assert root.is_relative_to(tmp_path / "c")
    assert {path.parent.name for path in tmp_path.rglob("escaped.jpg")} == {root.name}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive"])
@pytest.mark.parametrize("name", ["photos.zip", "photos.tar.gz"])
def test_a_damaged_archive_leaves_nothing(name: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(DataError, match="is damaged, or no archive"):
        resolve_data(file, FOLDERS, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


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
