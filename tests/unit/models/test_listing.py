"""Listings of strangers, and the index that stands in for one."""

import json
import re
import sys
from pathlib import Path

import pytest

from models import listing
from models.__main__ import main
from models.errors import RepositoryError, StoreError
from models.listing import INDEX_NAME, Remote, listing_of, read_index, write_index
from tests.artifacts import TINY_NAME, publish_tiny_artifact

FILE = Remote(size_bytes=1, tag="a")
STRANGE = [
    "../secret/1/model.pt",
    "pets/../../etc/passwd",
    "pets/1/../model.pt",
    "pets/1/..",
    "pets/1/sub/model.pt",
    "/etc/passwd",
    "pets/01/model.pt",
    "pets/1\n/model.pt",
    "pets/-1/model.pt",
    "pets/\u0661/model.pt",
    "pets/1/mo\x00del.pt",
    ".git/1/config",
    "pets/1/.lock",
    "pets/labels.json/1",
    "",
    "/",
    f"pets/{'9' * 30}/model.pt",
]


def test_artifacts_and_labels_are_found_among_what_is_none() -> None:
    paths = ["pets/3/model.pt", "pets/3/manifest.json", "pets/labels.json", *STRANGE, "README.md"]
    found = listing_of((path, FILE) for path in paths)
    assert found.versions == {"pets": {3: {"model.pt": FILE, "manifest.json": FILE}}}
    assert found.labels == {"pets": FILE}


def test_an_endless_listing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_FILES", 10)
    taken = iter((f"pets/{number}/model.pt", FILE) for number in range(1, 10**9))
    with pytest.raises(StoreError, match="more than 10 files"):
        listing_of(taken)
    assert next(taken)[0] == "pets/12/model.pt"  # it was not followed further


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"files": {"pets/1/model.pt": {"size_bytes": -1, "tag": ""}}}',
        b'{"files": {"pets/1/model.pt": {"size_bytes": 1e400, "tag": ""}}}',
        b'{"schema_version": 2, "files": {}}',
        b"{" * 100_000,
    ],
)
def test_what_is_no_index_is_refused(data: bytes) -> None:
    with pytest.raises(StoreError, match=re.escape(INDEX_NAME)):
        list(read_index(data))


def test_the_command_writes_what_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_tiny_artifact(tmp_path)
    (tmp_path / TINY_NAME / "labels.json").write_text('{"stable": 1}')
    monkeypatch.setattr(sys, "argv", ["models", "index", str(tmp_path)])
    assert main() == 0
    assert capsys.readouterr().out == f"{tmp_path / INDEX_NAME}: 4 files\n"
    found = listing_of(read_index((tmp_path / INDEX_NAME).read_bytes()))
    assert found.versions[TINY_NAME][1].keys() == {"manifest.json", "model.pt", "golden.npz"}
    size_bytes = (tmp_path / TINY_NAME / "1" / "model.pt").stat().st_size
    assert found.versions[TINY_NAME][1]["model.pt"].size_bytes == size_bytes
    assert found.labels.keys() == {TINY_NAME}


def test_the_index_is_written_over_the_one_before(tmp_path: Path) -> None:
    publish_tiny_artifact(tmp_path)
    assert write_index(tmp_path) == 3
    publish_tiny_artifact(tmp_path)
    assert write_index(tmp_path) == 6
    assert len(json.loads((tmp_path / INDEX_NAME).read_text())["files"]) == 6


def test_no_folder_has_no_index(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="is not a folder"):
        write_index(tmp_path / "none")
