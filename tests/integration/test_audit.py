"""An audit through the command line, and a run without what it advises against."""

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.programs import run_program
from tests.unit.trainer.photos import write_photos, write_recipe

NOT_UTF8 = "na\udcefve.jpg"


def trainer(*arguments: object) -> subprocess.CompletedProcess[str]:
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # tiny networks: more take longer
    return run_program("trainer", *arguments, environment=one_thread)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_photos(tmp_path_factory.mktemp("photos") / "data")
    red, blue = root / "train" / "red", root / "train" / "blue"
    (red / "0.jpg").rename(blue / "red-in-truth.jpg")
    shutil.copy(root / "test" / "blue" / "7.jpg", blue / "leak.jpg")
    (red / NOT_UTF8).write_bytes(b"no photo")
    return root


@pytest.fixture(scope="module")
def audited(data: Path) -> Path:
    recipe = write_recipe(data.parent / "recipe.toml")
    folder = data.parent / "audit"
    result = trainer(
        "audit", "--data", data, "--recipe", recipe, "--output", folder, "--folds", 3,
        "--epochs", 5, "--cache", data.parent / "cache",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "mislabelled" in result.stdout
    assert str(folder) in result.stdout
    return folder


def test_an_audit_names_what_is_wrong_by_relative_paths(audited: Path) -> None:
    with (audited / "audit.csv").open(errors="surrogateescape") as file:
        found = {row["path"]: row["problem"] for row in csv.DictReader(file)}
    assert found["train/blue/red-in-truth.jpg"] == "mislabelled"
    assert found["train/blue/leak.jpg"] == "duplicate"
    assert found[f"train/red/{NOT_UTF8}"] == "unreadable"


def test_a_run_leaves_out_what_the_audit_advises_against(data: Path, audited: Path) -> None:
    recipe = data.parent / "recipe.toml"
    result = trainer(
        "fit", recipe, "--data", data, "--exclude", audited / "exclude.csv",
        "--runs", data.parent / "runs", "--cache", data.parent / "cache", "--set", "fit.epochs=1",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    record = json.loads((Path(result.stdout.splitlines()[-1]) / "data.json").read_text())
    with (audited / "exclude.csv").open(errors="surrogateescape") as file:
        left_out = {row["path"] for row in csv.DictReader(file)}
    learned = sum(path.startswith("train/") for path in left_out)
    assert record["train_images"] + record["validation_images"] == 24 + 24 + 2 - learned
    assert record["unreadable"] == {}
    assert record["duplicates_left_out"] == 0


def test_an_archive_is_audited_without_a_recipe(data: Path) -> None:
    archive = shutil.make_archive(str(data.parent / "photos"), "zip", data / "test")
    result = trainer(
        "audit", "--data", archive, "--output", data.parent / "defaults", "--folds", 2,
        "--epochs", 1, "--cache", data.parent / "cache",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "48 photos" in result.stdout
    assert "of class blue</td><td>24</td>" in (data.parent / "defaults" / "audit.html").read_text()
