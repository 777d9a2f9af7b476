"""Ways in which a version's folder can be wrong, each with what the server must say of it."""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.manifest import GOLDEN_NAME, MANIFEST_NAME, MODEL_NAME, Label, read_manifest
from tests.artifacts import file_entry, write_manifest

Damage = Callable[[Path], None]


def flipped(name: str) -> Damage:
    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return damage


def flipped_manifest(folder: Path) -> None:
    path = folder / MANIFEST_NAME
    path.write_bytes(path.read_bytes().replace(b'"sha256"', b'"sha356"', 1))


def cut(name: str, share: float) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        os.truncate(path, int(path.stat().st_size * share))

    return damage


def missing(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def instead(name: str, make: Callable[[Path], object]) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return damage


def linked_out(name: str) -> Damage:
    def damage(folder: Path) -> None:
        outside = folder.parents[2] / name
        (folder / name).rename(outside)
        (folder / name).symlink_to(outside)

    return damage


def folder_linked_out(folder: Path) -> None:
    outside = folder.parents[2] / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)


def folder_is_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("version 2")


def said(**changes: object) -> Damage:
    """The manifest says something else."""

    def damage(folder: Path) -> None:
        path = folder / MANIFEST_NAME
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


def other_files(change: Callable[[dict[str, dict[str, object]]], None]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / MANIFEST_NAME
        manifest = json.loads(path.read_text())
        change(manifest["files"])
        path.write_text(json.dumps(manifest))

    return damage


def replaced(name: str, content: Callable[[bytes], bytes]) -> Damage:
    """Other content, of which the manifest has the right digest."""

    def damage(folder: Path) -> None:
        new = content((folder / name).read_bytes())
        (folder / name).write_bytes(new)
        manifest = read_manifest(folder)
        files = {**manifest.files, name: file_entry(new)}
        write_manifest(folder, manifest.model_copy(update={"files": files}))

    return damage


def bomb(_content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data/0", bytes(64 * 2**20))
    return buffer.getvalue()


def golden(change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> Damage:
    def content(data: bytes) -> bytes:
        with np.load(io.BytesIO(data)) as arrays:
            inputs, logits = change(arrays["inputs"], arrays["logits"])
        buffer = io.BytesIO()
        np.savez_compressed(buffer, inputs=inputs, logits=logits)
        return buffer.getvalue()

    return replaced(GOLDEN_NAME, content)


def one_label_more(folder: Path) -> None:
    manifest = read_manifest(folder)
    labels = (*manifest.labels, Label(id="teal", display_name="Teal"))
    write_manifest(folder, manifest.model_copy(update={"labels": labels}))


def one_class_more(folder: Path) -> None:
    """Labels and golden samples agree; the module gives another number of scores."""
    one_label_more(folder)
    golden(lambda inputs, logits: (inputs, np.pad(logits, ((0, 0), (0, 1)))))(folder)


def half_copied(folder: Path) -> None:
    (folder / GOLDEN_NAME).unlink()
    cut(MODEL_NAME, 0.4)(folder)


KINDS: dict[str, tuple[Damage, str]] = {
    "bit of the manifest": (flipped_manifest, "manifest"),
    "bit of the model": (flipped(MODEL_NAME), "model.pt differs from its SHA-256 digest"),
    "bit of the golden samples": (flipped(GOLDEN_NAME), "golden.npz differs from its SHA-256"),
    "manifest cut": (cut(MANIFEST_NAME, 0.5), "manifest"),
    "model cut": (cut(MODEL_NAME, 0.5), "model.pt has"),
    "golden samples cut": (cut(GOLDEN_NAME, 0.5), "golden.npz has"),
    "manifest empty": (cut(MANIFEST_NAME, 0), "manifest"),
    "model empty": (cut(MODEL_NAME, 0), "model.pt has 0 bytes"),
    "golden samples empty": (cut(GOLDEN_NAME, 0), "golden.npz has 0 bytes"),
    "manifest missing": (missing(MANIFEST_NAME), "No such file"),
    "model missing": (missing(MODEL_NAME), "model.pt cannot be read: No such file"),
    "golden samples missing": (missing(GOLDEN_NAME), "golden.npz cannot be read: No such file"),
    "half copied": (half_copied, "model.pt has"),
    "wrong digest": (
        other_files(lambda files: files[MODEL_NAME].update(sha256="0" * 64)),
        "model.pt differs from its SHA-256 digest",
    ),
    "wrong size": (other_files(lambda files: files[MODEL_NAME].update(size_bytes=5)), "model.pt"),
    "path that leads out": (
        other_files(lambda files: files.update({"../1/model.pt": files[MODEL_NAME]})),
        "manifest",
    ),
    "model linked out": (linked_out(MODEL_NAME), "model.pt cannot be read"),
    "manifest linked out": (linked_out(MANIFEST_NAME), "manifest"),
    "version linked out": (folder_linked_out, "2 is a link"),
    "version is a file": (folder_is_a_file, "2 is no folder"),
    "model is a pipe": (instead(MODEL_NAME, os.mkfifo), "model.pt is not a regular file"),
    "model is a folder": (instead(MODEL_NAME, os.mkdir), "model.pt cannot be read"),
    "file too many": (lambda folder: (folder / "x.so").touch(), "unlisted files: x.so"),
    "model is a bomb": (replaced(MODEL_NAME, bomb), "model.pt inflates"),
    "golden samples are a bomb": (replaced(GOLDEN_NAME, bomb), "golden.npz inflates"),
    "model is no model": (replaced(MODEL_NAME, lambda _: b"not a module"), "model.pt"),
    "golden samples are none": (replaced(GOLDEN_NAME, lambda _: b"no samples"), "golden.npz"),
    "manifest from the future": (said(schema_version=99), "manifest"),
    "manifest of another model": (said(name="other"), "manifest is of other version 2"),
    "manifest of another version": (said(version=3), "manifest is of tiny version 3"),
    "manifest nested deeply": (
        lambda folder: (folder / MANIFEST_NAME).write_text("[" * 100_000), "manifest"
    ),
    "manifest without labels": (said(labels=[]), "manifest"),
    "wrong class count": (one_label_more, "the manifest says"),
    "module of another class count": (one_class_more, "golden samples gave scores of shape"),
    "wrong golden sample": (
        golden(lambda inputs, logits: (inputs, logits[::-1].copy())), "golden samples gave"
    ),
    "golden sample not a number": (
        golden(lambda inputs, logits: (inputs, logits * np.float32("nan"))), "golden samples gave"
    ),
    "golden sample of another shape": (
        golden(lambda inputs, logits: (inputs[:, :, :8, :8].copy(), logits)), "the manifest says"
    ),
    "no golden samples": (
        golden(lambda inputs, logits: (inputs[:0], logits[:0])), "golden.npz does not hold"
    ),
}  # fmt: skip
