"""Run every check on a data set and write what was found."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.audit.duplicates import Located, duplicates
from trainer.audit.files import imbalance, tiny, unreadable
from trainer.audit.findings import Finding, Problem
from trainer.audit.labels import mislabelled
from trainer.audit.out_of_fold import out_of_fold_scores
from trainer.audit.page import render
from trainer.data import Photo, TrainingImages, catalogue, read_evaluation, read_training
from trainer.errors import AuditError
from trainer.recipe import Recipe

_COLUMNS = ("path", "problem", "given", "suggested", "score", "note")


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        photos: How many there are.
        classes: Photos by class.
        imbalance: A sentence where classes differ much, or nothing.
        findings: By problem, the likeliest wrong labels first.
        folder: Where audit.html, audit.csv and exclude.csv are.
    """

    photos: int
    classes: dict[str, int]
    imbalance: str
    findings: list[Finding]
    folder: Path

    def count(self, problem: Problem) -> int:
        """How many findings of a kind there are."""
        return sum(finding.problem is problem for finding in self.findings)


def audit(recipe: Recipe, root: Path, folder: Path, cache: Path | None, folds: int) -> Audit:
    """Audit the photos of a recipe, training, validation and test ones alike.

    Args:
        recipe: Names the photos; its network is trained once for each fold.
        root: The data folder.
        folder: Where the findings go; made where it is missing.
        cache: As for ``fit``.
        folds: How many.

    Raises:
        DataError: The data cannot be read.
        AuditError: cleanlab is missing, there are too few photos, or the folder cannot be written.
    """
    parts = catalogue(root, recipe.data, recipe.fit.seed, labels=recipe.labels)
    photos = [*parts.train, *parts.validation, *parts.test]
    training = read_training(photos, recipe.data.cache_side, cache)
    found = [
        *unreadable(photos, training.unreadable, parts.classes),
        *tiny(photos, parts.classes),
        *duplicates(_located(photos, training, _part_of(parts.train, parts.test)), parts.classes),
    ]
    found += _mislabelled(recipe, photos, training, parts.classes, folds, cache)
    counts, sentence = imbalance(photos, parts.classes)
    result = Audit(len(photos), counts, sentence, found, folder)
    _write(result, root)
    return result


def _mislabelled(
    recipe: Recipe,
    photos: Sequence[Photo],
    training: TrainingImages,
    classes: Sequence[str],
    folds: int,
    cache: Path | None,
) -> list[Finding]:
    smallest = int(training.labels.bincount(minlength=len(classes)).min())
    if smallest < folds:
        raise AuditError(
            f"{folds} folds need {folds} readable photos of each class, not {smallest}"
        )
    evaluation = read_evaluation(photos, recipe.input, cache)
    scores = out_of_fold_scores(recipe, training, evaluation, folds)
    return mislabelled(scores, training.labels, training.paths, classes)


def _part_of(train: Sequence[Photo], test: Sequence[Photo]) -> dict[Path, str]:
    return {photo.path: "train" for photo in train} | {photo.path: "test" for photo in test}


def _located(
    photos: Sequence[Photo], training: TrainingImages, parts: dict[Path, str]
) -> list[Located]:
    labels = {photo.path: photo for photo in photos}
    return [
        Located(
            photo=labels[path],
            part=parts.get(path, "validation"),
            digest=digest,
            pixels=image.permute(1, 2, 0).numpy(),
        )
        for path, digest, image in zip(
            training.paths, training.digests, training.images, strict=True
        )
    ]


def _write(result: Audit, root: Path) -> None:
    advised = {finding.path: finding for finding in result.findings if finding.exclude}
    try:
        result.folder.mkdir(parents=True, exist_ok=True)
        _write_csv(result.folder / "audit.csv", result.findings, root)
        _write_csv(result.folder / "exclude.csv", list(advised.values()), root)
        page = render(result.findings, result.classes, result.imbalance, root)
        (result.folder / "audit.html").write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise AuditError(f"{result.folder} cannot be written: {error.strerror}") from error


def _write_csv(path: Path, findings: Sequence[Finding], root: Path) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        for finding in findings:
            writer.writerow(
                {
                    "path": finding.path.relative_to(root),
                    "problem": finding.problem,
                    "given": finding.given,
                    "suggested": finding.suggested,
                    "score": f"{finding.score:.4f}",
                    "note": finding.note,
                }
            )
