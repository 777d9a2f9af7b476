"""What is said before the range test, and what it trains."""

from pathlib import Path

import pytest

from tests.unit.trainer.photos import write_recipe
from trainer import lr_find
from trainer.errors import RunError
from trainer.recipe import load_recipe


def test_a_plot_without_a_folder_is_refused_before_training(photos: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(write_recipe(tmp_path / "tiny.toml")))
    cache = tmp_path / "cache"
    with pytest.raises(RunError, match="nowhere is no folder"):
        lr_find.find_learning_rate(recipe, photos, tmp_path / "nowhere" / "plot.png", cache)
    assert not cache.exists()


def test_frozen_epochs_do_not_end_in_the_middle_of_the_test(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine steps are an epoch: the body would be frozen in the first of a hundred steps alone."""
    recipe = load_recipe(str(write_recipe(tmp_path / "tiny.toml")), ["fit.head_epochs=1"])
    frozen: list[bool] = []
    logits = lr_find.ClassificationTask._logits

    def watched(task: lr_find.ClassificationTask, inputs: object) -> object:
        frozen.append(task.body_is_frozen)
        return logits(task, inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(lr_find.ClassificationTask, "_logits", watched)
    assert 1e-6 < lr_find.find_learning_rate(recipe, photos, tmp_path / "plot.png") < 1.0
    assert frozen.count(False) == len(frozen) >= 50
