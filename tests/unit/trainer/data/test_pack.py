import os
import pickle
import tempfile
from pathlib import Path

import pytest
import torch

from tests.programs import run_program
from tests.unit.trainer.photos import write_photos
from trainer.data import Photo, catalogue, read_evaluation, read_training
from trainer.errors import DataError
from trainer.recipe import DataSpec, load_recipe

SPEC = load_recipe("cats-vs-dogs-small").input


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Photo, ...]:
    root = write_photos(tmp_path / "photos", per_class=6)
    spec = DataSpec(train=("train",), test=("test",), validation_fraction=0.2)
    return catalogue(root, spec, 0).train


def test_packs_hold_what_reading_gives_and_are_read_once(
    photos: tuple[Photo, ...], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    in_memory = read_training(photos, 32)
    for _ in range(2):
        packed = read_training(photos, 32, cache)
        assert packed.digests == in_memory.digests
        assert packed.paths == in_memory.paths
        for one, other in zip(packed.images, in_memory.images, strict=True):
            assert torch.equal(one, other)
        assert len(list(cache.iterdir())) == 2
    assert min(packed.images[0].shape[1:]) == 32
    assert torch.equal(
        read_evaluation(photos, SPEC, cache).inputs, read_evaluation(photos, SPEC).inputs
    )
    assert len(list(cache.iterdir())) == 4


def test_a_changed_photo_a_damaged_pack_and_another_size_are_read_anew(
    photos: tuple[Photo, ...], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    before = read_training(photos, 32, cache)
    photos[0].path.write_bytes(photos[1].path.read_bytes())
    after = read_training(photos, 32, cache)
    assert after.digests[0] == after.digests[1] != before.digests[0]
    for spoil in ("pixels", "npz"):
        for path in cache.glob(f"*.{spoil}"):
            path.write_bytes(path.read_bytes()[:-7])
        again = read_training(photos, 32, cache)
        assert torch.equal(again.images[3], after.images[3])
    assert min(read_training(photos, 16, cache).images[0].shape[1:]) == 16


def test_unreadable_photos_are_remembered(photos: tuple[Photo, ...], tmp_path: Path) -> None:
    photos[2].path.write_bytes(b"no photo")
    for _ in range(2):
        images = read_training(photos, 32, tmp_path / "cache")
        assert [item.path for item in images.unreadable] == [photos[2].path]
        assert len(images.images) == len(photos) - 1


@pytest.mark.parametrize("suffix", ["pixels", "npz"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    suffix: str, photos: tuple[Photo, ...], tmp_path: Path
) -> None:
    """While the pixels are written, and while the index is, which is the larger here."""
    read_training(photos, 4, tmp_path / "whole")
    sizes = {path.suffix: path.stat().st_size for path in (tmp_path / "whole").iterdir()}
    assert sizes[".pixels"] < sizes[".npz"]
    limit = sizes[f".{suffix}"] - 1
    cache = tmp_path / "cache"
    paths = [photo.path for photo in photos]
    result = run_program("tests.unit.trainer.data.full_disk", cache, limit, *paths)
    assert result.returncode == 0, result.stderr
    assert result.stdout == (
        f"decoded photos cannot be kept in {cache}: File too large; --cache names another folder\n"
    )
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(photos: tuple[Photo, ...], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be kept in .*file/cache: Not a directory"):
        read_training(photos, 32, tmp_path / "file" / "cache")


def test_a_photo_that_could_not_be_read_this_time_is_tried_again(
    photos: tuple[Photo, ...], tmp_path: Path
) -> None:
    hidden = photos[2].path.rename(tmp_path / "hidden.jpg")
    photos[2].path.mkdir()  # read as a file: Is a directory
    images = read_training(photos, 32, tmp_path / "cache")
    assert images.unreadable[0].reason == "cannot be read: Is a directory"
    kept = photos[2].path.stat()
    photos[2].path.rmdir()
    hidden.rename(photos[2].path)
    os.utime(photos[2].path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert len(read_training(photos, 32, tmp_path / "cache").images) == len(photos)


def test_a_pickled_pack_names_its_pixels(photos: tuple[Photo, ...], tmp_path: Path) -> None:
    for cache in (tmp_path / "cache", None):
        images = read_training(photos, 32, cache).images
        sent = pickle.dumps(images)
        received = pickle.loads(sent)  # noqa: S301 - our own
        for one, other in zip(received, images, strict=True):
            assert torch.equal(one, other)
        pixels = sum(image.numel() for image in images)
        assert (len(sent) < pixels / 2) == (cache is not None)


def test_memory_alone_needs_no_disk(
    photos: tuple[Photo, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert len(read_training(photos, 32).images) == len(photos)
