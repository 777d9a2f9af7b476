"""Only what the trusted key signed is opened."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from models import signature
from models.artifact import read_artifact
from models.errors import IntegrityError, ManifestError
from models.manifest import MANIFEST_NAME, MODEL_NAME
from models.repository import ModelRepository
from models.signature import SIGNATURE_NAME, sign
from tests.artifacts import TINY_NAME, file_entry, write_manifest, write_tiny_files
from tests.unit.models.test_artifact import relist

pytest.importorskip("model_signing", reason="the extra signing is not installed")


def key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Private and public key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> tuple[Path, Path]:
    return key_pair(tmp_path_factory.mktemp("keys"), "trusted")


@pytest.fixture
def signed(artifact_folder, keys) -> Path:
    sign(artifact_folder, keys[0])
    return artifact_folder


def test_what_is_signed_is_opened(signed, keys):
    assert read_artifact(signed, public_key=keys[1]).manifest.name == TINY_NAME
    assert read_artifact(signed).manifest.name == TINY_NAME  # where no key is configured


def test_the_projects_own_command_line_agrees(signed, keys):
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(signed)]
    flags = ["--signature", str(signed / SIGNATURE_NAME), "--public_key", str(keys[1])]
    verified = subprocess.run([*command, *flags], capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def unsigned(folder, _private):
    (folder / SIGNATURE_NAME).unlink()


def signed_by_another(folder, _private):
    sign(folder, key_pair(folder.parent, "another")[0])


def altered_with_its_manifest(folder, _private):
    (folder / "notes.txt").write_text("harmless")
    relist_all_but_signature(folder)


def signature_of_another_artifact(folder, private):
    other = folder.parent / "other"
    other.mkdir()
    write_manifest(other, write_tiny_files(other)(1))
    (other / "README.md").write_text("other")
    sign(other, private)
    (other / SIGNATURE_NAME).rename(folder / SIGNATURE_NAME)


def signature_that_is_a_link(folder, _private):
    path = folder / SIGNATURE_NAME
    path.rename(folder.parent / "elsewhere.sig")
    path.symlink_to(folder.parent / "elsewhere.sig")


def signature_cut_short(folder, _private):
    path = folder / SIGNATURE_NAME
    path.write_bytes(path.read_bytes()[:-20])


def no_json(folder, _private):
    (folder / SIGNATURE_NAME).write_bytes(b"\xff" * 100)


def too_long(folder, _private):
    (folder / SIGNATURE_NAME).write_bytes(b" " * (2**20 + 1))


def deeply_nested(folder, _private):
    (folder / SIGNATURE_NAME).write_bytes(b"[" * 100_000)


def relist_all_but_signature(folder):
    kept = (folder / SIGNATURE_NAME).read_bytes()
    (folder / SIGNATURE_NAME).unlink()
    relist(folder)
    (folder / SIGNATURE_NAME).write_bytes(kept)


@pytest.mark.parametrize(
    "harm",
    [
        unsigned,
        signed_by_another,
        altered_with_its_manifest,
        signature_of_another_artifact,
        signature_that_is_a_link,
        signature_cut_short,
        no_json,
        too_long,
        deeply_nested,
    ],
)
def test_anything_else_is_refused_before_it_is_opened(signed, keys, harm, monkeypatch):
    harm(signed, keys[0])
    monkeypatch.setattr("models.torchscript.load", lambda _: pytest.fail("it was opened"))
    with pytest.raises(IntegrityError, match=SIGNATURE_NAME):
        read_artifact(signed, public_key=keys[1])


def test_a_file_swapped_while_it_is_verified_is_not_opened(signed, keys, monkeypatch):
    verify = signature.verify

    def swap_then_verify(*arguments):
        (signed / MODEL_NAME).write_bytes(b"swapped")
        verify(*arguments)

    monkeypatch.setattr(signature, "verify", swap_then_verify)
    artifact = read_artifact(signed, public_key=keys[1])
    assert artifact.module() is not None  # the bytes that were verified


def test_a_key_that_cannot_be_used(signed, keys, tmp_path):
    with pytest.raises(IntegrityError, match="cannot sign"):
        sign(signed, keys[1])
    with pytest.raises(IntegrityError):
        read_artifact(signed, public_key=tmp_path / "missing.pub")


def test_published_with_a_signature(tmp_path, keys):
    repository = ModelRepository(tmp_path, keys[1])
    version = repository.publish(
        TINY_NAME,
        write_tiny_files,
        lambda folder: read_artifact(folder, staged=True, public_key=keys[1]),
        lambda folder: sign(folder, keys[0]),
    )
    assert repository.read(TINY_NAME, version).manifest.version == version
    unsigned_version = repository.publish(TINY_NAME, write_tiny_files, lambda _: None)
    with pytest.raises(IntegrityError, match=SIGNATURE_NAME):
        repository.read(TINY_NAME, unsigned_version)


def test_a_manifest_cannot_list_the_signature(signed):
    relist(signed)
    with pytest.raises(ManifestError, match="nor its signature"):
        read_artifact(signed)


def test_signing_again_replaces(signed, keys):
    before = (signed / MANIFEST_NAME).read_bytes()
    sign(signed, keys[0])
    assert (signed / MANIFEST_NAME).read_bytes() == before
    assert file_entry((signed / SIGNATURE_NAME).read_bytes()).size_bytes > 0
    read_artifact(signed, public_key=keys[1])
