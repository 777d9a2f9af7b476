from pathlib import Path

import numpy as np
from PIL import Image

from tests.unit.trainer.audit.scenes import scene
from trainer.audit.duplicates import NEAR_BITS, Located, duplicates, perceptual_hash
from trainer.audit.findings import Problem
from trainer.data import Photo

CLASSES = ("cat", "dog")


def located(
    name: str, picture: Image.Image, part: str = "train", label: int = 0, digest: str = ""
) -> Located:
    return Located(Photo(Path(name), label), name, part, digest or name, np.asarray(picture))


def distance(first: Image.Image, second: Image.Image) -> int:
    return (perceptual_hash(np.asarray(first)) ^ perceptual_hash(np.asarray(second))).bit_count()


def test_hashes_of_a_photo_survive_scaling_and_compression(tmp_path: Path) -> None:
    for seed in range(20):
        scene(seed).save(tmp_path / "poor.jpg", quality=40)
        with Image.open(tmp_path / "poor.jpg") as poor:
            assert distance(scene(seed, side=200), poor.convert("RGB")) <= NEAR_BITS
        assert distance(scene(seed), scene(seed + 100)) > NEAR_BITS


def test_what_is_held_out_is_kept() -> None:
    findings = duplicates(
        [
            located("a", scene(0), digest="same"),
            located("b", scene(0), part="validation", digest="same"),
            located("c", scene(0), part="test", digest="same"),
        ],
        CLASSES,
    )
    assert [(f.path.name, f.problem, str(f.original)) for f in findings] == [
        ("b", Problem.DUPLICATE, "c"),
        ("a", Problem.DUPLICATE, "c"),
    ]
    assert findings[1].note == "copy of c; train photo, and that one is for test"


def test_copies_of_a_copy_point_to_the_one_that_is_kept() -> None:
    photos = [located(name, scene(3, side)) for name, side in (("a", 64), ("b", 80), ("c", 120))]
    findings = duplicates(photos, CLASSES)
    assert [(f.path.name, f.problem) for f in findings] == [
        ("b", Problem.NEAR_DUPLICATE),
        ("c", Problem.NEAR_DUPLICATE),
    ]
    assert {str(f.original) for f in findings} == {"a"}
    assert all(0 <= f.score <= NEAR_BITS for f in findings)


def test_copies_under_two_labels_are_both_advised_against() -> None:
    for same in ("digest", ""):
        photos = [
            located("a", scene(1), label=0, digest=same),
            located("b", scene(1, 64 if same else 90), label=1, digest=same),
        ]
        findings = duplicates(photos, CLASSES)
        assert {(f.path.name, f.given, f.suggested) for f in findings} == {
            ("a", "cat", "dog"),
            ("b", "dog", "cat"),
        }
        assert all(f.problem is Problem.CONTRADICTION and f.exclude for f in findings)


def test_plain_walls_are_no_copies_of_each_other() -> None:
    walls = [
        located(name, Image.new("RGB", (64, 64), name)) for name in ("white", "grey", "crimson")
    ]
    assert duplicates(walls, CLASSES) == []
