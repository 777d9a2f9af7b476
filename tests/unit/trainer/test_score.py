"""A run scored on photos that are not, or no longer, what it was trained on."""

import logging
import shutil
from pathlib import Path

import pytest

from tests.unit.trainer.photos import write_photos
from trainer.compare import compare
from trainer.errors import RunError
from trainer.report import write_report
from trainer.run import Run
from trainer.score import ScoredRun, score


def test_photos_of_other_classes_are_refused(finished_run: Run, tmp_path: Path) -> None:
    data = write_photos(tmp_path / "data", per_class=8)
    for part in ("train", "test"):
        (data / part / "red").rename(data / part / "yellow")
    with pytest.raises(RunError, match=r"has the classes blue, yellow; .* trained on blue, red$"):
        score(finished_run, data)


def test_test_photos_that_were_trained_on_are_told(
    finished_run: Run, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "trainer.score"):
        score(finished_run)
        assert caplog.messages == []
        data = shutil.copytree(photos, tmp_path / "data")
        for path in (data / "train" / "red").iterdir():
            shutil.copy(path, data / "test" / "red" / f"again-{path.name}")
        score(finished_run, data)
    assert caplog.messages[0].startswith("18 of 72 test photos were trained on")


def test_a_comparison_says_who_saw_the_test_photos(
    finished_run: Run, photos: Path, tmp_path: Path
) -> None:
    """The judge's test photos are the other's training photos."""
    data = tmp_path / "data"
    shutil.copytree(photos / "train", data / "test")
    shutil.copytree(photos / "test", data / "train")
    judge = Run(shutil.copytree(finished_run.folder, tmp_path / "judge"))
    record = judge.data().model_copy(update={"root": str(data), "train_digests": ()})
    judge.write("data.json", record.model_dump_json())
    comparison = compare(judge.folder, finished_run.folder)
    assert (comparison.first.trained_on, comparison.second.trained_on) == (0, 36)


def test_a_folder_of_runs_is_no_run_but_names_one(finished_run: Run, tmp_path: Path) -> None:
    newest = finished_run.folder
    with pytest.raises(RunError, match=f"is not a run; the newest run in it is {newest}$"):
        Run(newest.parent).recipe()
    with pytest.raises(RunError, match=r"is not a run: it has no recipe\.json"):
        Run(tmp_path).recipe()


def test_a_report_that_cannot_be_written_is_one_sentence(scored: ScoredRun, tmp_path: Path) -> None:
    folder = shutil.copytree(scored.run.folder, tmp_path / "run")
    shutil.rmtree(folder / "plots", ignore_errors=True)
    (folder / "plots").write_text("in the way")
    object.__setattr__(scored, "run", Run(folder))
    with pytest.raises(RunError, match=r"plots/\S+\.png cannot be written: "):
        write_report(scored)
    assert not (folder / "report.html").exists()
