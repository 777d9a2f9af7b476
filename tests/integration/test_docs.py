"""What the documents show is run, against a real server."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT, Server

DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What they say that cannot end by itself, or is about other files than the repository's.
_NOT_RUN = ("watch", "--undo", "PHOTOS", "web", "bench")


def blocks(document: str, kind: str) -> Iterator[str]:
    for found, text in _BLOCK.findall((DOCS / document).read_text()):
        if found == kind:
            yield text


def commands(document: str) -> Iterator[str]:
    for block in blocks(document, ""):
        for line in block.splitlines():
            said = line.removeprefix("$ ").partition("#")[0].strip()
            if said.startswith("python -m client") and not any(no in said for no in _NOT_RUN):
                yield said


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def run(place: Path, server: Server, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MENAGERIE_SERVER": server.grpc}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_examples_of_the_sdk(server: Server, place: Path) -> None:
    examples = list(blocks("sdk.md", "python"))
    assert len(examples) == 6
    for example in examples:
        run(place, server, "-c", example.replace("127.0.0.1:50051", server.grpc))


@pytest.mark.parametrize("document", ["cli.md", "folders.md"])
def test_the_commands(server: Server, place: Path, document: str) -> None:
    shown = list(commands(document))
    assert shown
    for command in shown:
        run(place, server, *shlex.split(command)[1:])
