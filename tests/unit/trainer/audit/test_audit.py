"""An audit of synthetic photos with one of everything wrong planted among them."""

import csv
import importlib
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.trainer.audit.scenes import scene
from tests.unit.trainer.photos import write_photos, write_recipe
from trainer.audit import audit
from trainer.audit.findings import Problem
from trainer.audit.run import Audit
from trainer.data import catalogue
from trainer.errors import AuditError
from trainer.recipe import Recipe, load_recipe

HOSTILE = "<img src=x onerror=alert(1)>.jpg"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_photos(tmp_path_factory.mktemp("audited") / "data", per_class=24)
    red, blue = root / "train" / "red", root / "train" / "blue"
    (red / "0.jpg").rename(blue / "red-in-truth.jpg")
    (blue / "3.jpg").rename(red / HOSTILE)
    shutil.copy(blue / "5.jpg", blue / "copy.jpg")
    shutil.copy(root / "test" / "blue" / "7.jpg", blue / "leak.jpg")
    shutil.copy(blue / "6.jpg", red / "also-red.jpg")
    scene(1).save(blue / "scene.jpg", quality=95)
    scene(1, side=90).save(blue / "scene-again.jpg", quality=60)
    (red / "broken.jpg").write_bytes(b"no photo")
    Image.new("RGB", (20, 40), "red").save(red / "tiny.jpg")
    return root


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    path = write_recipe(tmp_path_factory.mktemp("recipe") / "tiny.toml")
    return load_recipe(str(path), ["fit.epochs=5"])


@pytest.fixture(scope="module")
def audited(root: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    folder = tmp_path_factory.mktemp("audit")
    (folder / "exclude.csv").write_text("of an earlier audit")
    return audit(recipe, root, folder, None, folds=3)


def paths(audited: Audit, problem: Problem) -> set[str]:
    return {finding.path.name for finding in audited.findings if finding.problem is problem}


def test_each_planted_problem_is_found(audited: Audit) -> None:
    assert paths(audited, Problem.UNREADABLE) == {"broken.jpg"}
    assert paths(audited, Problem.TINY) == {"tiny.jpg"}
    assert paths(audited, Problem.DUPLICATE) == {"copy.jpg", "leak.jpg"}
    assert paths(audited, Problem.CONTRADICTION) == {"6.jpg", "also-red.jpg"}
    assert {"red-in-truth.jpg", HOSTILE} <= paths(audited, Problem.MISLABELLED)
    assert len(paths(audited, Problem.MISLABELLED)) <= 7
    scenes = {"scene.jpg", "scene-again.jpg"}
    assert len(paths(audited, Problem.NEAR_DUPLICATE) & scenes) == 1
    suggested = {f.path.name: f.suggested for f in audited.findings if f.suggested}
    assert (suggested["red-in-truth.jpg"], suggested[HOSTILE]) == ("red", "blue")


def test_a_copy_in_another_part_of_the_split_is_called_one(audited: Audit) -> None:
    (leak,) = [finding for finding in audited.findings if finding.path.name == "leak.jpg"]
    assert "that one is for test" in leak.note
    assert leak.note.startswith("copy of test/blue/7.jpg;")
    assert leak.original is not None
    assert leak.original.parts[-3:] == ("test", "blue", "7.jpg")


def test_the_lists_are_for_people_and_for_fit(audited: Audit, root: Path, recipe: Recipe) -> None:
    with (audited.folder / "audit.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(audited.findings)
    assert {row["problem"] for row in rows} == {problem.value for problem in Problem}
    left = catalogue(root, recipe.data, 0, exclude=audited.folder / "exclude.csv")
    names = {f"{p.path.parent.name}/{p.path.name}" for p in (*left.train, *left.validation)}
    assert names.isdisjoint(
        {
            "red/broken.jpg",
            "blue/copy.jpg",
            "blue/leak.jpg",
            "blue/6.jpg",
            "red/also-red.jpg",
        }
    )
    sure = {f.path for f in audited.findings if f.problem is Problem.MISLABELLED and f.exclude}
    assert sure.isdisjoint(photo.path for photo in (*left.train, *left.validation))
    assert {path.name for path in audited.folder.iterdir()} == {
        "audit.csv",
        "audit.html",
        "exclude.csv",
    }


def test_the_page_shows_thumbnails_and_escapes_names(audited: Audit) -> None:
    page = (audited.folder / "audit.html").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;.jpg" in page
    assert page.count('src="data:image/jpeg;base64,') > 8
    assert 'src="http' not in page


def test_too_few_photos_for_the_folds_are_an_error(
    root: Path, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(AuditError, match="100 folds need 100 readable photos"):
        audit(recipe, root, tmp_path / "out", None, folds=100)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_known_before_training(
    root: Path, recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match="file/out cannot be written: Not a directory"):
        audit(recipe, root, tmp_path / "file" / "out", None, folds=100)


def test_a_missing_extra_is_one_sentence(
    root: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = [place for place in sys.path if not (Path(place) / "cleanlab").is_dir()]
    monkeypatch.setattr(sys, "path", installed)
    monkeypatch.delitem(sys.modules, "cleanlab", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(AuditError, match=r"pip install .menagerie\[audit\]"):
        audit(recipe, root, tmp_path / "out", None, folds=3)
