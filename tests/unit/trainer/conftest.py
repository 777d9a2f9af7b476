"""One real run on synthetic photos, for everything that looks at a finished run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.unit.trainer.photos import write_photos, write_recipe
from trainer.fit import fit
from trainer.recipe import load_recipe
from trainer.run import Run
from trainer.score import ScoredRun, score


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny networks: starting a second thread takes longer than it saves."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``{train,test}/{blue,red}``."""
    return write_photos(tmp_path_factory.mktemp("photos") / "data")


@pytest.fixture(scope="session")
def finished_run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = write_recipe(tmp_path_factory.mktemp("recipe") / "tiny.toml")
    return fit(load_recipe(str(recipe)), photos, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def scored(finished_run: Run) -> ScoredRun:
    return score(finished_run)
