"""Training through the real command line: killed, interrupted, spread over processes, refused."""

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.programs import Program, run_program
from tests.unit.trainer.photos import write_photos, write_recipe
from trainer.history import read_history


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MENAGERIE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")  # tiny networks: more threads take longer
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Enough for the loaders to start workers.
    return write_photos(tmp_path_factory.mktemp("photos") / "data", per_class=48)


@pytest.fixture(scope="module")
def recipe(data: Path) -> Path:
    return write_recipe(data.parent / "recipe.toml")


def start(*arguments: object, launcher: tuple[str, ...] = ()) -> Program:
    return Program(*launcher, "trainer", *arguments)


def finish(process: Program) -> tuple[int, str, str]:
    out, err = process.communicate()
    return process.wait(), out, err


def read_until(process: Program, pattern: str) -> None:
    for line in process.stderr:
        if re.search(pattern, line):
            return
    raise AssertionError(f"no line like {pattern!r}")


def the_run(runs: Path) -> Path:
    (folder,) = (runs / "tiny").iterdir()
    return folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    tensors: dict[str, torch.Tensor] = checkpoint["state_dict"]
    return tensors


EPOCHS = (
    "--set",
    "fit.epochs=6",
    "--set",
    "augment.mixup_alpha=0.2",
    "--set",
    "network.dropout=0.1",
)


def test_a_killed_run_resumes_to_the_same_weights(data: Path, recipe: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    code, _, err = finish(start("fit", recipe, "--data", data, *EPOCHS, "--runs", whole))
    assert code == 0, err
    process = start("fit", recipe, "--data", data, *EPOCHS, "--runs", killed)
    read_until(process, r"epoch 3/6")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    run = the_run(killed)
    code, out, err = finish(start("fit", "--resume", run))
    assert (code, out.strip()) == (0, str(run)), err
    expected, found = weights(the_run(whole)), weights(run)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
    histories = [read_history(path / "metrics.csv") for path in (the_run(whole), run)]
    losses = [[row["train/loss"] for row in rows if "train/loss" in row] for rows in histories]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6


def test_ctrl_c_keeps_the_best_and_says_how_to_go_on(
    data: Path, recipe: Path, tmp_path: Path
) -> None:
    process = start(
        "fit", recipe, "--data", data, "--set", "fit.epochs=500", "--runs", tmp_path / "runs"
    )
    read_until(process, r"epoch 2/500")
    os.killpg(process.pid, signal.SIGINT)
    code, out, err = finish(process)
    run = the_run(tmp_path / "runs")
    assert (code, out) == (130, "")
    assert f"interrupted: resume with --resume {run}" in err
    assert "Traceback" not in err
    assert (run / "checkpoints" / "best.ckpt").is_file()


def test_two_processes_train_one_network(data: Path, recipe: Path, tmp_path: Path) -> None:
    launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    arguments = ("fit", recipe, "--data", data, "--set", "fit.batch_size=8")
    epochs = ("--set", "fit.epochs=6", "--runs")
    together, alone = tmp_path / "together", tmp_path / "alone"
    code, out, err = finish(start(*arguments, *epochs, together, launcher=launcher))
    assert code == 0, err
    code, _, err = finish(start(*arguments, *epochs, alone))
    assert code == 0, err
    assert out.splitlines() == [str(the_run(together))]  # once, not once for each process
    losses = []
    for run in (the_run(together), the_run(alone)):
        rows = [row for row in read_history(run / "metrics.csv") if "validation/loss" in row]
        assert len(rows) == 6
        losses.append(rows[-1]["validation/loss"])
    # Batch norms see half of the batch each, so it is the same only within noise.
    assert losses[0] == pytest.approx(losses[1], abs=0.25)


def test_a_loss_that_is_no_number_leaves_nothing(data: Path, recipe: Path, tmp_path: Path) -> None:
    code, _, err = finish(
        start("fit", recipe, "--data", data, "--set", "fit.max_learning_rate=1e30",
              "--set", "fit.ema_decay=0.0", "--runs", tmp_path)
    )  # fmt: skip
    assert code == 1, err
    assert "error: the training loss became" in err
    assert "Traceback" not in err
    assert list((tmp_path / "tiny").iterdir()) == []


def test_a_disk_too_small_for_a_checkpoint_is_one_sentence_and_leaves_nothing(
    recipe: Path, tmp_path: Path
) -> None:
    """50 kB hold these few photos, not the 60 kB of a checkpoint."""
    data = write_photos(tmp_path / "data", per_class=8)
    result = run_program(
        "tests.integration.small_disk", 50_000, "fit", recipe, "--data", data,
        "--runs", tmp_path / "runs", "--set", "fit.epochs=1",
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert re.search(r"^error: .*/runs/tiny/\S+ cannot be written: File too large$",
                     result.stderr, re.M)  # fmt: skip
    assert "Traceback" not in result.stderr
    assert list((tmp_path / "runs" / "tiny").iterdir()) == []


def test_any_folder_of_class_folders_trains_without_a_recipe(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Two Colours"
    shutil.copytree(data / "train", folder)
    (folder / "red" / "broken.jpg").write_bytes(b"no photo")
    listing = tmp_path / "exclude.csv"
    listing.write_text("path,problem\nred/0.jpg,mislabelled\nblue/1.jpg,duplicate\n")
    code, out, err = finish(
        start("fit", "--data", folder, "--exclude", listing, "--set", "fit.epochs=1",
              "--set", "input.height=32", "--set", "input.width=32", "--runs", tmp_path / "runs")
    )  # fmt: skip
    assert code == 0, err
    run = Path(out.strip())
    record = json.loads((run / "data.json").read_text())
    assert sum(map(sum, record["counts"].values())) == 94
    assert [reason for path, reason in record["unreadable"].items() if "broken" in path]
    assert run.parent.name == "two-colours"
    code, _, err = finish(start("report", run))
    assert code == 0, err
    code, out, err = finish(start("evaluate", run))
    assert code == 0, err
    assert "accuracy" in out
    page = (run / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 8


def test_an_archive_trains_without_a_recipe_and_nothing_advertises(
    data: Path, tmp_path: Path
) -> None:
    archive = shutil.make_archive(str(tmp_path / "Two Colours"), "zip", data / "train")
    code, out, err = finish(
        start("fit", "--data", archive, "--set", "fit.epochs=1", "--set", "input.height=32",
              "--set", "input.width=32", "--runs", tmp_path / "runs")
    )  # fmt: skip
    assert code == 0, err
    assert Path(out.strip()).parent.name == "two-colours"
    assert {line.split(":")[0] for line in err.splitlines()} <= {
        "INFO trainer.terminal", "INFO trainer.progress", "INFO trainer.fit",
    }  # fmt: skip


def test_lr_find_plots_and_suggests(data: Path, recipe: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plot.png"
    code, out, err = finish(start("lr-find", recipe, "--data", data, "--output", plot))
    assert code == 0, err
    suggestion = float(re.search(r"suggested max_learning_rate: (\S+)", out)[1])  # type: ignore[index]
    assert 1e-6 < suggestion < 1.0
    with Image.open(plot) as image:
        assert image.size[0] > 400
