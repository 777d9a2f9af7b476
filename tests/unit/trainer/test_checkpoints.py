"""Checkpoints that are missing, damaged, or of something else."""

import shutil
from pathlib import Path

import pytest
import torch

from trainer.checkpoints import read_checkpoint
from trainer.errors import RunError
from trainer.fit import resume
from trainer.run import Run
from trainer.score import load_network


def test_a_damaged_checkpoint_is_one_sentence(finished_run: Run, tmp_path: Path) -> None:
    intact = finished_run.last_checkpoint.read_bytes()
    file = tmp_path / "last.ckpt"
    for length in (0, 1, 100, len(intact) // 2, len(intact) - 1):
        file.write_bytes(intact[:length])
        with pytest.raises(RunError, match=r"last\.ckpt is damaged, or no checkpoint$"):
            read_checkpoint(file)
    torch.save({"epoch": 3}, file)
    with pytest.raises(RunError, match=r"last\.ckpt is no checkpoint$"):
        read_checkpoint(file)
    file.unlink()
    with pytest.raises(RunError, match=r"last\.ckpt is missing$"):
        read_checkpoint(file)


def test_a_run_with_damaged_checkpoints_is_neither_resumed_nor_scored(
    finished_run: Run, tmp_path: Path
) -> None:
    run = Run(shutil.copytree(finished_run.folder, tmp_path / "run"))
    for file in (run.last_checkpoint, run.best_checkpoint):
        file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(RunError, match=r"last\.ckpt is damaged"):
        resume(run)
    with pytest.raises(RunError, match=r"best\.ckpt is damaged"):
        load_network(run)


def test_a_checkpoint_of_another_network_is_told_apart(finished_run: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(finished_run.folder, tmp_path / "run"))
    recipe = (run.folder / "recipe.json").read_text()
    assert '"widths": [\n      8\n    ]' in recipe
    (run.folder / "recipe.json").write_text(
        recipe.replace('"widths": [\n      8', '"widths": [\n      16')
    )
    with pytest.raises(RunError, match=r"best\.ckpt is of another network than recipe\.json names"):
        load_network(run)
