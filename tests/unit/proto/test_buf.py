"""The .proto files keep buf's rules, and break no client of what was promised."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from proto import buf
from proto.generate import ROOT, sources
from proto.npm import NpmError

Changed = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def command() -> Path:
    try:
        return buf.install()
    except NpmError as error:
        pytest.skip(f"buf: {error}")


@pytest.fixture
def changed(tmp_path: Path) -> Changed:
    """Makes a copy of the files in which a line of classify.proto is another one."""

    def make(old: str, new: str) -> Path:
        for source in sources():
            (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, tmp_path / source)
        path = tmp_path / "proto/classify/v1/classify.proto"
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1
        path.write_text(text.replace(old, new), encoding="utf-8")
        return tmp_path

    return make


def test_style_and_comments(command: Path) -> None:
    assert buf.lint(command) == ""


def test_nothing_breaks_clients(command: Path) -> None:
    assert buf.breaks(command) == "", "meant? python -m proto.buf accept"


def test_a_renumbered_field_breaks_clients(command: Path, changed: Changed) -> None:
    root = changed("google.rpc.Status error = 3;", "google.rpc.Status error = 4;")
    assert 'field "3" with name "error" on message "ClassifyResult"' in buf.breaks(command, root)


def test_what_has_no_comment_and_another_style_is_found(command: Path, changed: Changed) -> None:
    line = "google.rpc.Status error = 3;"
    said = buf.lint(command, changed(line, f"{line}\n    string camelCase = 9;"))
    assert "proto/classify/v1/classify.proto" in said
    assert "non-empty comment" in said
    assert "should be lower_snake_case" in said
