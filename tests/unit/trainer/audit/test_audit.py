"""An audit of synthetic photos with one of everything wrong planted among them."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.trainer.photos import write_photos, write_recipe
from trainer.audit import audit
from trainer.audit.duplicates import NEAR_BITS, perceptual_hash
from trainer.audit.findings import Problem
from trainer.audit.out_of_fold import stratified_folds
from trainer.audit.recipe import audit_recipe
from trainer.audit.run import Audit
from trainer.data import catalogue
from trainer.errors import AuditError
from trainer.recipe import Recipe, load_recipe

HOSTILE = "<img src=x onerror=alert(1)>.jpg"


def scene(seed: int, side: int = 64) -> Image.Image:
    """Smooth colours, as photos have and noise has not."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_photos(tmp_path_factory.mktemp("audited") / "data", per_class=24)
    red, blue = root / "train" / "red", root / "train" / "blue"
    (red / "0.jpg").rename(blue / "red-in-truth.jpg")
    (blue / "3.jpg").rename(red / HOSTILE)
    shutil.copy(blue / "5.jpg", blue / "copy.jpg")
    shutil.copy(root / "test" / "blue" / "7.jpg", blue / "leak.jpg")
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
    return audit(recipe, root, tmp_path_factory.mktemp("audit") / "out", None, folds=3)


def paths(audited: Audit, problem: Problem) -> set[str]:
    return {finding.path.name for finding in audited.findings if finding.problem is problem}


def test_each_planted_problem_is_found(audited: Audit) -> None:
    assert paths(audited, Problem.UNREADABLE) == {"broken.jpg"}
    assert paths(audited, Problem.TINY) == {"tiny.jpg"}
    assert paths(audited, Problem.DUPLICATE) == {"copy.jpg", "leak.jpg"}
    assert {"red-in-truth.jpg", HOSTILE} <= paths(audited, Problem.MISLABELLED)
    assert len(paths(audited, Problem.MISLABELLED)) <= 6
    scenes = {"scene.jpg", "scene-again.jpg"}
    assert len(paths(audited, Problem.NEAR_DUPLICATE) & scenes) == 1
    suggested = {f.path.name: f.suggested for f in audited.findings if f.suggested}
    assert (suggested["red-in-truth.jpg"], suggested[HOSTILE]) == ("red", "blue")


def test_a_copy_in_another_part_of_the_split_is_called_one(audited: Audit) -> None:
    (leak,) = [finding for finding in audited.findings if finding.path.name == "leak.jpg"]
    assert "that one is for test" in leak.note
    assert leak.original is not None
    assert leak.original.parts[-3:] == ("test", "blue", "7.jpg")


def test_the_lists_are_for_people_and_for_fit(audited: Audit, root: Path, recipe: Recipe) -> None:
    with (audited.folder / "audit.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(audited.findings)
    assert {row["problem"] for row in rows} == {problem.value for problem in Problem}
    left = catalogue(root, recipe.data, 0, exclude=audited.folder / "exclude.csv")
    names = {photo.path.name for photo in (*left.train, *left.validation)}
    assert names.isdisjoint({"broken.jpg", "copy.jpg", "leak.jpg", "red-in-truth.jpg", HOSTILE})


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


def test_hashes_of_a_photo_survive_scaling_and_compression(tmp_path: Path) -> None:
    def distance(first: Image.Image, second: Image.Image) -> int:
        return (
            perceptual_hash(np.asarray(first)) ^ perceptual_hash(np.asarray(second))
        ).bit_count()

    for seed in range(20):
        scene(seed).save(tmp_path / "poor.jpg", quality=40)
        with Image.open(tmp_path / "poor.jpg") as poor:
            assert distance(scene(seed, side=200), poor.convert("RGB")) <= NEAR_BITS
        assert distance(scene(seed), scene(seed + 100)) > NEAR_BITS


def test_folds_are_even_in_every_class() -> None:
    labels = [0] * 10 + [1] * 7
    folds = stratified_folds(labels, 3, seed=0)
    for label in (0, 1):
        sizes = [sum(f == n and own == label for f, own in zip(folds, labels, strict=True))
                 for n in range(3)]  # fmt: skip
        assert max(sizes) - min(sizes) <= 1


def test_the_default_judge_is_small(root: Path) -> None:
    recipe = audit_recipe(root, epochs=2)
    assert (recipe.fit.epochs, recipe.input.height, recipe.augment.mixup_alpha) == (2, 64, 0.0)
