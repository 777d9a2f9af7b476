import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.unit.trainer.photos import write_photos
from trainer.data import archives, catalogue, resolve_data
from trainer.errors import DataError
from trainer.recipe import DataSpec

FOLDERS = DataSpec(train=("train",), test=("test",), validation_fraction=0.25)


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


@pytest.mark.parametrize("end", [0, 300, 1024 + 300])
def test_a_tar_that_is_cut_off_is_damaged(end: int, tmp_path: Path) -> None:
    """Between two members, inside a header, inside a photo."""
    file = tmp_path / "photos.tar"
    with tarfile.open(file, "w") as archive:
        archive.add(write_photos(tmp_path / "photos", per_class=4), ".")
        start = archive.getmembers()[-1].offset
    file.write_bytes(file.read_bytes()[: start + end])
    with pytest.raises(DataError, match="is damaged, or no archive"):
        resolve_data(file, FOLDERS, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_damaged_and_encrypted_members_are_named(tmp_path: Path) -> None:
    file = tmp_path / "photos.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/red/0.jpg", bytes(range(256)) * 64)
    whole = file.read_bytes()
    middle = len("train/red/0.jpg") + 30  # local header: 30 bytes and the name
    flags = whole.index(b"PK\x01\x02") + 8
    for damaged in (
        whole[:middle] + b"\xff" * 40 + whole[middle + 40 :],
        whole[:flags] + b"\x01" + whole[flags + 1 :],
    ):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=r"photos\.zip is damaged, or no archive"):
            resolve_data(file, FOLDERS, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_would_fill_the_disk_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_MAX_UNPACKED_BYTES", 1024)
    photos = write_photos(tmp_path / "photos", per_class=4)
    file = tmp_path / f"photos.{kind}"
    if kind == "zip":
        zipped(photos, file, "")
    else:
        with tarfile.open(file, "w") as archive:
            archive.add(photos, ".")
    with pytest.raises(DataError, match="unpacks to more than the limit"):
        resolve_data(file, FOLDERS, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
