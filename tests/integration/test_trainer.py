"""Recipe to published version through the real command line."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from models.golden import check_golden
from models.repository import ModelRepository
from tests.programs import ROOT, run_program
from tests.unit.trainer.photos import write_photos, write_recipe
from trainer.logits import logits_of


def trainer(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_program("trainer", *arguments)


@pytest.fixture(scope="module", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MENAGERIE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")  # tiny networks: more threads take longer
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos") / "data")


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    """From an interpreter of its own, as people start it."""
    recipe = write_recipe(data / "recipe.toml")
    command = [sys.executable, "-m", "trainer", "fit", recipe, "--data", data]
    result = subprocess.run(
        [*command, "--runs", data.parent / "runs"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return Path(result.stdout.splitlines()[-1])


def test_a_run_says_what_it_did(run: Path) -> None:
    record = json.loads((run / "data.json").read_text())
    assert (record["classes"], record["train_images"]) == (["blue", "red"], 36)
    assert {path.name for path in run.iterdir()} >= {
        "checkpoints", "data.json", "environment.json", "metrics.csv", "recipe.json",
    }  # fmt: skip


def test_published_versions_are_whole_and_count_up(run: Path, data: Path, tmp_path: Path) -> None:
    evaluated = trainer("evaluate", run, "--data", data, "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    accuracy = json.loads(evaluated.stdout)["accuracy"]
    for version in (1, 2):
        result = trainer("publish", run, "--data", data, "--repository", tmp_path)
        assert result.returncode == 0, result.stderr
        assert f"red-or-blue version {version}" in result.stdout
    repository = ModelRepository(tmp_path)
    assert repository.versions("red-or-blue") == [1, 2]
    artifact = repository.read("red-or-blue", 2)
    assert artifact.manifest.metrics.accuracy == accuracy
    assert [label.display_name for label in artifact.manifest.labels] == ["Blue", "Red"]
    temperature, module = artifact.manifest.calibration.temperature, artifact.module()
    check_golden(
        artifact.golden(),
        lambda images: torch.softmax(logits_of(module, images) / temperature, 1),
        temperature,
        artifact.manifest.golden.score_tolerance_fp32,
    )


def test_publish_refuses_what_is_below_the_floor(run: Path, tmp_path: Path) -> None:
    strict = tmp_path / "run"
    shutil.copytree(run, strict)
    recipe = json.loads((run / "recipe.json").read_text())
    (strict / "recipe.json").write_text(json.dumps({**recipe, "minimum_accuracy": 1.0}))
    # Test photos with their labels swapped: every right answer is wrong.
    test = write_photos(tmp_path / "data") / "test"
    (test / "red").rename(test / "was-red")
    (test / "blue").rename(test / "red")
    (test / "was-red").rename(test / "blue")
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    result = trainer("publish", strict, "--data", test.parent, "--repository", zoo)
    assert result.returncode == 3, result.stderr
    assert "FAIL  accuracy reaches the recipe's floor: accuracy 0.0000" in result.stderr
    assert ModelRepository(zoo).models() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "nothing", "--data", "."), "recipe 'nothing'"),
        (("fit", "cats-vs-dogs-small", "--data", "nowhere"), "does not exist"),
        (("evaluate", "nowhere", "--data", "."), "is not a run"),
    ],
)
def test_mistakes_are_one_clear_line(arguments: tuple[str, ...], message: str) -> None:
    result = trainer(*arguments)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
