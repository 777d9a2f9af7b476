"""An artifact is read whole and unaltered, or not at all."""

import hashlib
import io
import os
import shutil
import zipfile

import numpy as np
import pytest
import torch

from models.artifact import read_artifact
from models.errors import IntegrityError, ManifestError
from models.golden import check_golden
from models.manifest import GOLDEN_NAME, MANIFEST_NAME, MODEL_NAME, Golden, Label, read_manifest
from tests.artifacts import (
    TINY_LABELS,
    coloured,
    file_entry,
    write_manifest,
    write_tiny_artifact,
)

FILES = [MODEL_NAME, GOLDEN_NAME]


def relist(folder, **changes):
    """Make the manifest agree with whatever lies in ``folder``; change fields of it."""
    names = {path.name for path in folder.iterdir()} - {MANIFEST_NAME}
    files = {name: file_entry((folder / name).read_bytes()) for name in names}
    manifest = read_manifest(folder).model_copy(update={"files": files, **changes})
    write_manifest(folder, manifest)


def test_a_whole_artifact(pristine_artifact):
    artifact = read_artifact(pristine_artifact)
    assert [label.id for label in artifact.manifest.labels] == list(TINY_LABELS)
    manifest_bytes = (pristine_artifact / MANIFEST_NAME).read_bytes()
    assert artifact.digest == hashlib.sha256(manifest_bytes).hexdigest()


def test_its_module_reproduces_its_golden_samples(pristine_artifact):
    artifact = read_artifact(pristine_artifact)
    module = artifact.module()
    with torch.inference_mode():
        difference = check_golden(
            artifact.golden(),
            lambda images: torch.softmax(module(images), dim=1),
            artifact.manifest.calibration.temperature,
            artifact.manifest.golden.score_tolerance_fp32,
        )
        assert module(coloured("green").unsqueeze(0)).argmax() == TINY_LABELS.index("green")
    assert difference < 1e-6


def test_what_was_verified_is_what_is_loaded(artifact_folder):
    artifact = read_artifact(artifact_folder)
    shutil.rmtree(artifact_folder)
    assert artifact.module()(coloured("red").unsqueeze(0)).shape == (1, 3)
    assert len(artifact.golden().inputs) == artifact.manifest.golden.samples


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["first", "middle", "last"])
def test_a_flipped_bit(artifact_folder, name, share):
    path = artifact_folder / name
    content = bytearray(path.read_bytes())
    content[int((len(content) - 1) * share)] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=f"{name} differs"):
        read_artifact(artifact_folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [-1, 1], ids=["short", "long"])
def test_another_length(artifact_folder, name, change):
    path = artifact_folder / name
    os.truncate(path, path.stat().st_size + change)
    with pytest.raises(IntegrityError, match=f"{name} has .* bytes"):
        read_artifact(artifact_folder)


def test_a_flipped_bit_of_the_manifest_changes_the_digest(artifact_folder):
    before = read_artifact(artifact_folder).digest
    path = artifact_folder / MANIFEST_NAME
    path.write_bytes(path.read_bytes().replace(b'"Red"', b'"Rad"'))
    assert read_artifact(artifact_folder).digest != before


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(artifact_folder, name):
    (artifact_folder / name).unlink()
    with pytest.raises(IntegrityError, match=f"{name} cannot be read: No such file"):
        read_artifact(artifact_folder)


@pytest.mark.parametrize("name", FILES)
def test_a_linked_file(artifact_folder, tmp_path, name):
    (artifact_folder / name).rename(tmp_path / name)
    (artifact_folder / name).symlink_to(tmp_path / name)
    with pytest.raises(IntegrityError, match=name):
        read_artifact(artifact_folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_a_file_that_is_something_else(artifact_folder, name, make):
    (artifact_folder / name).unlink()
    make(artifact_folder / name)
    with pytest.raises(IntegrityError, match=name):
        read_artifact(artifact_folder)


@pytest.mark.parametrize(
    "make",
    [
        lambda _: None,
        os.mkfifo,
        os.mkdir,
        lambda path: path.symlink_to("model.pt"),
        lambda path: path.touch(),
        lambda path: (path.touch(), os.truncate(path, 2**40)),
    ],
    ids=["missing", "pipe", "folder", "link", "empty", "huge"],
)
def test_a_manifest_that_is_something_else(artifact_folder, make):
    (artifact_folder / MANIFEST_NAME).unlink()
    make(artifact_folder / MANIFEST_NAME)
    with pytest.raises(ManifestError, match="manifest"):
        read_artifact(artifact_folder)


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: (folder / "extra.bin").touch(),
        lambda folder: (folder / ".hidden").touch(),
        lambda folder: (folder / "sub").mkdir(),
        lambda folder: (folder / "link").symlink_to("model.pt"),
    ],
    ids=["file", "hidden", "folder", "link"],
)
def test_what_is_not_listed(artifact_folder, make):
    make(artifact_folder)
    with pytest.raises(IntegrityError, match="unlisted files: "):
        read_artifact(artifact_folder)


def test_other_listed_files_are_verified_too(artifact_folder):
    (artifact_folder / "README.md").write_text("A card.")
    relist(artifact_folder)
    read_artifact(artifact_folder)
    (artifact_folder / "README.md").write_text("B card.")
    with pytest.raises(IntegrityError, match=r"README\.md differs"):
        read_artifact(artifact_folder)


@pytest.mark.parametrize("place", ["tiny/2", "other/1", "tiny/01"])
def test_a_folder_of_another_name(pristine_artifact, tmp_path, place):
    shutil.copytree(pristine_artifact, tmp_path / place)
    with pytest.raises(ManifestError, match=f"the folder is {place}"):
        read_artifact(tmp_path / place)
    read_artifact(tmp_path / place, staged=True)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ManifestError, match="No such file"):
        read_artifact(tmp_path / "tiny" / "1")


def test_an_absurd_size_in_the_manifest(artifact_folder):
    manifest = read_manifest(artifact_folder)
    entry = manifest.files[MODEL_NAME].model_copy(update={"size_bytes": 10**30})
    files = {**manifest.files, MODEL_NAME: entry}
    write_manifest(artifact_folder, manifest.model_copy(update={"files": files}))
    with pytest.raises(IntegrityError, match=r"model\.pt has \d+ bytes; the manifest says 1000"):
        read_artifact(artifact_folder)


def replace_model(folder, content):
    (folder / MODEL_NAME).write_bytes(content)
    relist(folder)
    return read_artifact(folder)


def test_nothing_is_opened_by_torch_while_reading(monkeypatch, artifact_folder):
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("torch opened it"))
    replace_model(artifact_folder, b"not a module")


def test_a_model_that_is_not_torchscript(artifact_folder):
    artifact = replace_model(artifact_folder, b"not a module")
    with pytest.raises(IntegrityError, match=r"model\.pt"):
        artifact.module()


def test_a_model_that_is_a_bomb(artifact_folder):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data/0", bytes(64 * 2**20))
    artifact = replace_model(artifact_folder, buffer.getvalue())
    with pytest.raises(IntegrityError, match=r"model\.pt inflates"):
        artifact.module()


MORE_LABELS = tuple(Label(id=f"{i}", display_name=f"{i}") for i in range(4))
OTHER_GOLDEN = Golden(samples=7, score_tolerance_fp32=1e-5, score_tolerance_bf16=0.05)


@pytest.mark.parametrize(
    "changes", [{"labels": MORE_LABELS}, {"golden": OTHER_GOLDEN}], ids=["classes", "samples"]
)
def test_golden_samples_that_do_not_fit_the_manifest(artifact_folder, changes):
    relist(artifact_folder, **changes)
    with pytest.raises(IntegrityError, match="the manifest says"):
        read_artifact(artifact_folder).golden()


@pytest.mark.parametrize("shape", [(6, 3, 8, 8), (6, 1, 16, 16), (6, 3, 16, 17)])
def test_golden_inputs_that_do_not_fit_the_manifest(artifact_folder, shape):
    np.savez(
        artifact_folder / GOLDEN_NAME,
        inputs=np.zeros(shape, np.uint8),
        logits=np.zeros((6, 3), np.float32),
    )
    relist(artifact_folder)
    with pytest.raises(IntegrityError, match="the manifest says"):
        read_artifact(artifact_folder).golden()


def test_the_factory_takes_names_versions_and_fields(tmp_path):
    folder = write_tiny_artifact(tmp_path, name="other", version=12, network="named")
    artifact = read_artifact(folder)
    assert (folder.parent.name, folder.name) == ("other", "12")
    assert artifact.manifest.network == "named"
