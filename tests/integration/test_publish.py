"""Publishing that is killed at any step, or meets a full disk, leaves whole versions only."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.repository import ModelRepository
from tests.programs import run_program
from tests.unit.trainer.photos import write_photos, write_recipe
from trainer.fit import fit
from trainer.recipe import load_recipe
from trainer.run import Run
from trainer.score import score
from trainer.verify import verify

MODEL = "red-or-blue"


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # tiny networks: more threads take longer
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    data = write_photos(tmp_path_factory.mktemp("photos") / "data", per_class=8)
    recipe = load_recipe(str(write_recipe(data / "recipe.toml")))
    return fit(recipe, data, tmp_path_factory.mktemp("runs"))


def test_killed_at_any_step_the_repository_holds_whole_versions(run: Run, tmp_path: Path) -> None:
    result = run_program("tests.integration.killed_publish", run.folder, tmp_path)
    assert result.returncode == 0, result.stderr
    *killed, whole = sorted(path for path in tmp_path.iterdir() if path.is_dir())
    assert len(killed) >= 6
    versions = [ModelRepository(root).versions(MODEL) for root in killed]
    assert versions == [*[[]] * (len(killed) - 1), [1]]  # the last is killed after the rename
    for root in (killed[-1], whole):
        verify(root / MODEL / "1")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(run: Run, tmp_path: Path) -> None:
    cache, root = tmp_path / "cache", tmp_path / "zoo"
    root.mkdir()
    score(run, cache=cache)  # its photos are not what the disk is too small for
    result = run_program(
        "tests.integration.small_disk", 8_000, "publish", run.folder, "--repository", root,
        "--cache", cache,
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert "error: " in result.stderr
    assert "cannot be written: " in result.stderr
    assert "File too large" in result.stderr
    assert "Traceback" not in result.stderr
    assert ModelRepository(root).models() == []
    assert [path.name for path in (root / MODEL).iterdir()] == [".lock"]
