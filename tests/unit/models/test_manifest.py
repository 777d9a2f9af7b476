import json
import os

import pytest

from models.errors import ManifestError
from models.manifest import MANIFEST_NAME, parse_manifest, read_manifest
from tests.artifacts import TINY_LABELS, file_entry, tiny_manifest

ENTRY = file_entry(b"content")
MANIFEST = tiny_manifest({"model.pt": ENTRY, "golden.npz": ENTRY})
NAN = float("nan")
DIGEST = "0" * 64


def changed(path, value):
    """The manifest's JSON with the value at ``path`` (``a.b.0``) replaced."""
    fields = json.loads(MANIFEST.model_dump_json())
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    target = fields
    for part in parents:
        target = target[part]
    target[last] = value
    return json.dumps(fields).encode()


def test_what_is_written_is_read():
    assert parse_manifest(MANIFEST.model_dump_json().encode()) == MANIFEST


def test_a_manifest_from_the_future_says_so_before_anything_else():
    with pytest.raises(ManifestError, match=r"schema version 2; this release reads up to 1"):
        parse_manifest(b'{"schema_version": 2, "everything_else": "is different"}')


FILES = {"model.pt": ENTRY.model_dump(), "golden.npz": ENTRY.model_dump()}
REFERENCE = {
    "images": 4,
    "best_score": {"edges": [0.0, 0.5, 1.0], "shares": [0.25, 0.75]},
    "brightness": {"edges": [0.0, 255.0], "shares": [1.0]},
    "labels": [0.5, 0.5],
}
INT8 = {
    "ranges": {"stem": [-1.0, 1.0]},
    "images": 10,
    "accuracy": 0.9,
    "accuracy_fp32": 0.9,
    "log_loss": 0.3,
    "score_tolerance": 0.05,
}
INVALID = [
    ("schema_version", 0, "schema_version"),
    ("schema_version", "x", "schema_version"),
    ("surprise", 1, "surprise"),
    ("input.surprise", 1, "input.surprise"),
    ("name", "Tiny", "name"),
    ("name", "../tiny", "name"),
    ("name", "a/b", "name"),
    ("name", "a\0", "name"),
    ("name", "a\n", "name"),
    ("name", "", "name"),
    ("name", "a" * 10_000, "name"),
    ("version", 0, "version"),
    ("version", -1, "version"),
    ("version", 10**18, "version"),
    ("version", 10**40, "version"),
    ("version", 1.5, "version"),
    ("created", "2025-01-01T00:00:00", "created"),
    ("created", "yesterday", "created"),
    ("labels", [{"id": "a", "display_name": "A"}], "labels"),
    ("labels.1.id", TINY_LABELS[0], "labels: ids must be unique"),
    ("labels.0.id", "", "labels.0.id"),
    ("labels.0.display_name", None, "labels.0.display_name"),
    ("input.height", 32, "input.*height and width must be equal"),
    ("input.width", 10**6, "input.width"),
    ("input.crop_fraction", 0, "input.crop_fraction"),
    ("input.crop_fraction", 1.01, "input.crop_fraction"),
    ("input.crop_fraction", NAN, "input.crop_fraction"),
    ("input.mean.0", NAN, "input.mean.0"),
    ("input.std.2", 0, "input.std.2"),
    ("input.std.2", float("inf"), "input.std.2"),
    ("input.colour", "BGR", "input.colour"),
    ("input.resize_rule", "stretch", "input.resize_rule"),
    ("parameters", 0, "parameters"),
    ("dtype", "float16", "dtype"),
    ("metrics.accuracy", NAN, "metrics.accuracy"),
    ("metrics.accuracy", 1.1, "metrics.accuracy"),
    ("metrics.log_loss", float("inf"), "metrics.log_loss"),
    ("calibration.temperature", 0, "calibration.temperature"),
    ("calibration.temperature", NAN, "calibration.temperature"),
    ("golden.samples", 0, "golden.samples"),
    ("golden.score_tolerance_fp32", NAN, "golden.score_tolerance_fp32"),
    ("data_fingerprint", "abc", "data_fingerprint"),
    ("files", {"model.pt": FILES["model.pt"]}, r"files: golden\.npz must be listed"),
    ("files", {"golden.npz": FILES["golden.npz"]}, r"files: model\.pt must be listed"),
    ("files", {**FILES, "manifest.json": FILES["model.pt"]}, "files: the manifest cannot"),
    ("files", {**FILES, "../model.pt": FILES["model.pt"]}, r"files\."),
    ("files", {**FILES, ".hidden": FILES["model.pt"]}, r"files\."),
    ("files", {**FILES, "a/b": FILES["model.pt"]}, r"files\."),
    ("files", {**FILES, "model.pt": {"sha256": DIGEST, "size_bytes": -1}}, "size_bytes"),
    ("files", {**FILES, "model.pt": {"sha256": "A" * 64, "size_bytes": 1}}, "sha256"),
    ("class_recalls", [1.0], "one entry per label"),
    ("class_recalls", [1.0, 1.5], "class_recalls.1"),
    ("reference", {**REFERENCE, "labels": [1.0]}, "one entry per label"),
    ("reference", {**REFERENCE, "images": 0}, "reference.images"),
    ("reference", {**REFERENCE, "brightness": {"edges": [0, 1], "shares": []}}, "brightness"),
    ("reference", {**REFERENCE, "best_score": {"edges": [1, 0], "shares": [1.0]}}, "must ascend"),
    ("int8", INT8, r"files: model\.pt2 must be listed"),
    ("int8", {**INT8, "ranges": {"stem": [0.5, 1.0]}}, "stem's must hold zero"),
    ("int8", {**INT8, "ranges": {"stem": [NAN, 1.0]}}, r"int8\.ranges\.stem"),
    ("int8", {**INT8, "ranges": {}}, r"int8\.ranges"),
]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    INVALID,
    ids=[f"{path}={str(value)[:20]}" for path, value, _ in INVALID],
)
def test_the_error_names_the_field(path, value, message):
    with pytest.raises(ManifestError, match=message):
        parse_manifest(changed(path, value))


def test_every_field_is_needed_or_has_a_default():
    fields = json.loads(MANIFEST.model_dump_json())
    optional = {
        "schema_version",
        "dtype",
        "class_recalls",
        "reference",
        "forced",
        "novelty",
        "int8",
    }
    for name in fields.keys() - optional:
        rest = {key: value for key, value in fields.items() if key != name}
        with pytest.raises(ManifestError, match=f"{name}: Field required"):
            parse_manifest(json.dumps(rest).encode())


NO_MANIFEST = [
    b"",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"schema_version":',
    b"{}",
    b"[" * 100_000,
    b'{"schema_version": 1e999}',
    b'{"schema_version": ' + b"9" * 10_000 + b"}",
    MANIFEST.model_dump_json().encode()[:-1],
]


@pytest.mark.parametrize("data", NO_MANIFEST, ids=[str(data[:20]) for data in NO_MANIFEST])
def test_what_is_no_manifest(data):
    with pytest.raises(ManifestError, match="manifest is invalid"):
        parse_manifest(data)


def test_an_error_shows_every_problem_and_no_value():
    fields = json.loads(MANIFEST.model_dump_json())
    fields.update(name="SECRET-VALUE", version=-7)
    with pytest.raises(ManifestError) as refused:
        parse_manifest(json.dumps(fields).encode())
    message = str(refused.value)
    assert "name:" in message
    assert "version:" in message
    assert "SECRET-VALUE" not in message


def test_read_manifest(artifact_folder):
    assert read_manifest(artifact_folder).labels[0].id == TINY_LABELS[0]


@pytest.mark.parametrize("make", [lambda _: None, os.mkfifo, lambda path: path.symlink_to("x")])
def test_a_manifest_that_cannot_be_read(tmp_path, make):
    make(tmp_path / MANIFEST_NAME)
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        read_manifest(tmp_path)
