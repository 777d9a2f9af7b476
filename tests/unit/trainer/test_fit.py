"""Fitting in this process: what a run's folder holds, and what is refused before there is one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.trainer.photos import write_photos, write_recipe
from trainer.checkpoints import read_checkpoint
from trainer.compare import compare
from trainer.errors import DataError, RunError, TrainerError, WeightsError
from trainer.fit import fit, resume, without_idle_epochs
from trainer.history import read_history
from trainer.recipe import load_recipe
from trainer.run import Run
from trainer.score import ScoredRun


@pytest.fixture
def recipe_file(tmp_path: Path) -> str:
    return str(write_recipe(tmp_path / "tiny.toml"))


def test_the_history_is_one_row_for_each_thing_logged(finished_run: Run) -> None:
    rows = read_history(finished_run.folder / "metrics.csv")
    for column in ("train/loss", "train/accuracy", "train/wait_share", "validation/loss"):
        assert [row["epoch"] for row in rows if column in row] == [0, 1, 2, 3], column
    assert 0 < max(row.get("learning_rate", 0) for row in rows) <= 1e-2
    assert list((finished_run.folder / "tensorboard").glob("events.out.tfevents.*"))


def test_the_record_counts_every_class(finished_run: Run) -> None:
    record = finished_run.data()
    assert record.classes == ("blue", "red")
    assert record.counts == {"train": (18, 18), "validation": (6, 6), "test": (24, 24)}
    assert record.short_side_quantiles == (40, 40, 40, 40, 40)


def test_a_finished_run_has_nothing_to_resume(finished_run: Run) -> None:
    assert resume(finished_run) == finished_run


def test_a_run_that_stopped_early_has_nothing_to_resume(
    recipe_file: str, photos: Path, tmp_path: Path
) -> None:
    # A rate too small to change anything: the second epoch is no better.
    overrides = ["fit.schedule=plateau", "fit.early_stopping_patience=1", "fit.epochs=9",
                 "fit.max_learning_rate=1e-12", "fit.ema_decay=0.0"]  # fmt: skip
    run = fit(load_recipe(recipe_file, overrides), photos, tmp_path / "runs")
    history = (run.folder / "metrics.csv").read_text()
    epochs = read_history(run.folder / "metrics.csv")[-1]["epoch"]
    assert 0 < epochs < 8
    # The last epoch's, though an earlier one was better.
    assert read_checkpoint(run.last_checkpoint)["epoch"] == epochs
    assert read_checkpoint(run.best_checkpoint)["epoch"] < epochs
    assert resume(run) == run
    assert (run.folder / "metrics.csv").read_text() == history


def test_a_run_is_resumed_on_its_own_photos_only(finished_run: Run, tmp_path: Path) -> None:
    run, data = tmp_path / "run", write_photos(tmp_path / "other", per_class=9)
    shutil.copytree(finished_run.folder, run)
    record = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**record, "root": str(data)}))
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["fit"]["epochs"] = 9
    (run / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(RunError, match=r"is not what .* was trained on"):
        resume(Run(run))
    (run / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(RunError, match="no checkpoint to resume from"):
        resume(Run(run))


def test_a_random_body_is_not_frozen(recipe_file: str) -> None:
    overrides = ["fit.head_epochs=1"]
    frozen = load_recipe(recipe_file, [*overrides, "network.weights=body.pth"])
    assert without_idle_epochs(frozen).fit.head_epochs == 1
    assert without_idle_epochs(load_recipe(recipe_file, overrides)).fit.head_epochs == 0


@pytest.mark.parametrize(
    ("spoil", "overrides", "message"),
    [
        ("one class", [], "has 1 class"),
        ("empty class", [], "class 'red' has no photo"),
        ("no image", [], "photos can be read; first: is not a JPEG"),
    ],
)
def test_mistakes_are_found_before_there_is_a_run(
    spoil: str, overrides: list[str], message: str, recipe_file: str, tmp_path: Path
) -> None:
    data = write_photos(tmp_path / "data", per_class=8)
    if spoil == "one class":
        shutil.rmtree(data / "train" / "red")
    for path in (data / "train").rglob("*.jpg"):
        if spoil == "no image":
            path.write_bytes(b"no image")
        if spoil == "empty class" and path.parent.name == "red":
            path.unlink()
    with pytest.raises(TrainerError, match=message):
        fit(load_recipe(recipe_file, overrides), data, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def spoil_to_bytes(path: Path) -> None:
    path.write_bytes(b"no image")


def spoil_to_bitmap(path: Path) -> None:
    with Image.open(path) as photo:
        photo.save(path.with_suffix(".bmp"))
    path.unlink()


@pytest.mark.parametrize("spoil", [spoil_to_bytes, spoil_to_bitmap])
def test_a_class_without_a_readable_photo_is_not_trained(
    spoil: Callable[[Path], None], recipe_file: str, tmp_path: Path
) -> None:
    data = write_photos(tmp_path / "data", per_class=8)
    for path in (data / "train" / "red").iterdir():
        spoil(path)
    with pytest.raises(DataError, match="'red' has no train photo left: 8 photos are unreadable"):
        fit(load_recipe(recipe_file), data, tmp_path / "runs")


def test_photos_that_are_all_held_out_too_are_not_trained(recipe_file: str, tmp_path: Path) -> None:
    data = write_photos(tmp_path / "data", per_class=8)
    shutil.rmtree(data / "test")
    shutil.copytree(data / "train", data / "test")
    with pytest.raises(DataError, match=r"left: .*, 12 training photos are the same files as held"):
        fit(load_recipe(recipe_file), data, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_weights_that_cannot_be_had_are_found_before_photos_are_decoded(
    recipe_file: str, photos: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(recipe_file, ["network.weights=nowhere.pth"])
    with pytest.raises(WeightsError, match=r"nowhere\.pth cannot be read"):
        fit(recipe, photos, tmp_path / "runs", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_run_compared_with_itself_is_as_good(finished_run: Run) -> None:
    comparison = compare(finished_run.folder, finished_run.folder)
    assert (comparison.difference, comparison.p_value) == (0.0, 1.0)
    assert comparison.recipe_differences == {}
    assert comparison.first.only_right == ()
    assert comparison.first.recalls == {"blue": 1.0, "red": 1.0}


def test_evaluation_of_a_run(scored: ScoredRun) -> None:
    evaluation = scored.evaluation()
    assert evaluation.top_k == {1: 1.0}
    assert evaluation.confusion == ((24, 0), (0, 24))
    assert evaluation.most_confused == ()
    assert sum(item.images for item in evaluation.reliability) == 48
