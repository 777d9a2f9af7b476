import shutil
from pathlib import Path

import pytest

from tests.artifacts import TINY_NAME, write_tiny_artifact


@pytest.fixture(scope="session")
def pristine_artifact(tmp_path_factory) -> Path:
    """A whole artifact; not to be changed."""
    return write_tiny_artifact(tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def artifact_folder(pristine_artifact, tmp_path) -> Path:
    """A copy to damage."""
    folder = tmp_path / TINY_NAME / "1"
    shutil.copytree(pristine_artifact, folder)
    return folder
