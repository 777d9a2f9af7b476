"""What is said before the range test, what it trains, and what it suggests."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.trainer.photos import write_recipe
from trainer import lr_find
from trainer.__main__ import main
from trainer.errors import RunError
from trainer.recipe import load_recipe


def test_a_plot_without_a_folder_is_refused_before_training(photos: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(write_recipe(tmp_path / "tiny.toml")))
    cache = tmp_path / "cache"
    with pytest.raises(RunError, match="nowhere is no folder"):
        lr_find.find_learning_rate(recipe, photos, tmp_path / "nowhere" / "plot.png", cache)
    assert not cache.exists()


def falling(rates: NDArray[np.float64], middle: float) -> NDArray[np.float64]:
    """From 2.3 nats to 0.8 around ``middle``, then up; noise of single steps."""
    decades = np.log10(rates / middle)
    noise = np.random.default_rng(0).normal(0.0, 0.15, len(rates))
    return np.asarray(
        2.3 - 1.5 / (1 + np.exp(-6 * decades)) + 3 * np.maximum(0, decades - 1) + noise
    )


@pytest.mark.parametrize("middle", [1e-4, 3e-3])
def test_the_suggestion_is_where_the_loss_is_half_way_down(middle: float) -> None:
    rates = np.geomspace(1e-6, 1.0, 100)
    suggestion = lr_find.half_way_down(rates.tolist(), falling(rates, middle).tolist())
    assert suggestion == pytest.approx(middle, rel=0.4)


def test_a_loss_that_falls_no_more_than_it_swings_suggests_nothing() -> None:
    rates = np.geomspace(1e-6, 1.0, 100)
    losses = 2.3 + np.random.default_rng(0).normal(0.0, 0.3, 100)
    assert lr_find.half_way_down(rates.tolist(), losses.tolist()) is None


def test_what_diverges_leaves_the_rest_of_the_curve_alone() -> None:
    rates = np.geomspace(1e-6, 1.0, 100)
    whole, losses = falling(rates, 1e-4), falling(rates, 1e-4)
    losses[90:] = [1e30, np.inf, np.nan] * 3 + [np.nan]
    suggestions = [lr_find.half_way_down(rates.tolist(), each.tolist()) for each in (whole, losses)]
    assert suggestions[0] == suggestions[1]


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


@pytest.fixture
def command(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``lr-find`` as typed; returns the folder its plot goes to."""
    recipe, folder = write_recipe(tmp_path / "tiny.toml"), tmp_path / "plots"
    folder.mkdir()
    arguments = ["lr-find", recipe, "--data", photos, "--cache", tmp_path / "cache"]
    output = ["--output", folder / "plot.png"]
    monkeypatch.setattr(sys, "argv", ["trainer", *map(str, [*arguments, *output])])
    return folder


def test_ctrl_c_between_two_steps_is_one_sentence_and_leaves_nothing(
    command: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps: list[int] = []
    training_step = lr_find.ClassificationTask.training_step

    def interrupted(task: lr_find.ClassificationTask, batch: object, index: int) -> object:
        steps.append(index)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return training_step(task, batch, index)  # type: ignore[arg-type]

    monkeypatch.setattr(lr_find.ClassificationTask, "training_step", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    assert main() == 130
    assert capsys.readouterr().err.splitlines()[-1] == (
        "interrupted: the range test says nothing before its end"
    )
    assert len(steps) == 3
    assert list(command.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_before_the_first_step_ends_alike(
    command: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(lr_find, "prepare", interrupted)
    assert main() == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted"
    assert list(command.iterdir()) == []
