import dataclasses
import shutil
import struct
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.manifest import Abstain, Label
from trainer.corruptions import corruptions
from trainer.report import write_report
from trainer.report.charts import png
from trainer.report.confusion import confusion_figure
from trainer.report.copies import copies_across_split
from trainer.report.curves import curves
from trainer.report.novelty import novelty_figure
from trainer.run import Run
from trainer.score import ScoredRun, score

HOSTILE = "<script>alert(1)</script>"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.fixture
def own(scored: ScoredRun, tmp_path: Path) -> ScoredRun:
    """The scored run in a folder of its own."""
    for name in ("metrics.csv", "environment.json"):
        (tmp_path / name).write_bytes((scored.run.folder / name).read_bytes())
    return dataclasses.replace(scored, run=Run(tmp_path))


def test_the_page_is_whole_and_reaches_for_nothing(own: ScoredRun) -> None:
    page = write_report(own).read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert all(source.startswith("data:image/") for source in tags.sources)
    assert tags.names.count("img") == 8 + 24 + 24 + 2 * 12
    assert "100.00%" in page
    names = {path.stem for path in (own.run.folder / "plots").iterdir()}
    assert names == {
        "loss", "accuracy", "error-rate", "learning-rate",
        "confusion", "reliability", "risk-coverage", "novelty",
    }  # fmt: skip


def test_hostile_names_are_text(own: ScoredRun) -> None:
    labels = (Label(id="a", display_name=HOSTILE), Label(id="b", display_name="$x_{" + "長" * 100))
    images = own.test.images
    paths = [Path(f"/data/{HOSTILE.replace('/', '')}/<b>{i}.jpg") for i in range(48)]
    test = dataclasses.replace(own.test, images=dataclasses.replace(images, paths=paths))
    hostile = dataclasses.replace(own, labels=labels, test=test)
    page = write_report(hostile).read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.names
    assert page.count("&lt;script&gt;") > 10


def test_a_run_without_history_has_the_other_plots(own: ScoredRun) -> None:
    (own.run.folder / "metrics.csv").unlink()
    write_report(own)
    names = {path.stem for path in (own.run.folder / "plots").iterdir()}
    assert names == {"confusion", "reliability", "risk-coverage", "novelty"}


def test_the_page_says_what_the_novelty_score_detects(own: ScoredRun, tmp_path: Path) -> None:
    others = tmp_path / "others"
    others.mkdir()
    random = np.random.default_rng(3)
    for number in range(6):  # green, where the classes are red and blue
        pixels = random.integers(0, 60, (40, 48, 3), dtype=np.uint8)
        pixels[:, :, 1] += 190
        Image.fromarray(pixels).save(others / f"{number}.png")
    silent = write_report(own).read_text(encoding="utf-8")
    assert "AUROC" not in silent
    assert "--others DIR" in silent
    page = write_report(own, others=others).read_text(encoding="utf-8")
    assert "AUROC on 3 photos of other things" in page  # the other three chose the score
    assert "of those, called novel</td><td>100.00%" in page


def test_the_novelty_plot_holds_every_score_and_the_threshold() -> None:
    ordinary, strange = torch.linspace(0.0, 0.2, 50), torch.linspace(0.1, 0.9, 20)
    axes = novelty_figure(ordinary, strange, 0.15).axes[0]
    heights = [bar.get_height() for bar in axes.patches]
    assert sum(heights) == pytest.approx(200.0)  # each kind adds up to 100%
    assert axes.lines[0].get_xdata()[0] == 0.15
    assert sum(bar.get_height() for bar in novelty_figure(ordinary, None, 1.5).axes[0].patches) == (
        pytest.approx(100.0)
    )


def test_thirty_seven_classes_are_drawn_larger() -> None:
    def size(classes: int) -> tuple[int, ...]:
        counts = np.random.default_rng(0).integers(0, 90, (classes, classes)).tolist()
        image = png(confusion_figure(counts, [f"class number {i}" for i in range(classes)]))
        return struct.unpack(">II", image[16:24])

    assert size(37)[0] > 2 * size(3)[0]
    assert size(37)[1] > 2 * size(3)[1]


def test_curves_draw_what_the_history_has() -> None:
    assert curves([]) == {}
    rows = [{"epoch": 0.0, "step": 3.0, "learning_rate": 0.1}]
    assert list(curves(rows)) == ["learning-rate"]
    rows += [{"epoch": 0.0, "step": 4.0, "train/loss": 0.5}]
    rows += [{"epoch": 0.0, "step": 4.0, "validation/loss": 0.7, "validation/accuracy": 0.75}]
    figure = curves(rows)["error-rate"]
    (line,) = figure.axes[0].lines
    assert figure.axes[0].get_xlabel() == "epoch"
    assert list(line.get_ydata()) == pytest.approx([25.0])


def test_copies_across_the_split_are_named(finished_run: Run, photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    shutil.copy(data / "test" / "red" / "3.jpg", data / "train" / "blue" / "3.jpg")
    with Image.open(data / "test" / "blue" / "5.jpg") as picture:
        picture.resize((96, 80)).save(data / "train" / "blue" / "5.jpg", quality=70)
    shutil.copy(data / "train" / "red" / "7.jpg", data / "train" / "red" / "8.jpg")  # one side
    folder = tmp_path / "run"
    shutil.copytree(finished_run.folder, folder)
    scored = score(Run(folder), data)
    copies = copies_across_split(scored, None)
    assert {(copy.name, copy.original) for copy in copies if copy.bits == 0} >= {
        ("train/blue/3.jpg", "test/red/3.jpg")
    }
    assert ("train/blue/5.jpg", "test/blue/5.jpg") in {
        (copy.name, copy.original) for copy in copies
    }
    assert all(copy.part != copy.original_part for copy in copies)
    page = write_report(scored).read_text(encoding="utf-8")
    assert f"exact and near</td><td>{len(copies)}</td>" in page
    assert "train/blue/5.jpg" in page


def test_the_page_says_how_far_to_trust_the_model(own: ScoredRun) -> None:
    abstain = Abstain(threshold=0.7531, risk=0.02, confidence=0.95, coverage=0.8)
    ruled = own.calibration.model_copy(update={"abstain": abstain})
    page = write_report(dataclasses.replace(own, calibration=ruled)).read_text(encoding="utf-8")
    assert "abstain below 0.7531" in page
    assert "prediction sets of 90.00%" in page
    assert page.count("<td>strong</td>") == len(corruptions())
    plain = dataclasses.replace(
        own, calibration=own.calibration.model_copy(update={"abstain": None})
    )
    assert "none: too few validation photos" in write_report(plain).read_text(encoding="utf-8")
