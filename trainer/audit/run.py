"""Run every check on a data set and write what was found."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from trainer.audit.duplicates import duplicates, locate
from trainer.audit.files import imbalance, tiny, unreadable
from trainer.audit.findings import Finding
from trainer.audit.labels import mislabelled, require_cleanlab
from trainer.audit.out_of_fold import out_of_fold_scores
from trainer.audit.page import render
from trainer.data import Photo, TrainingImages, read_evaluation, read_training, split_of
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
    require_cleanlab()
    with _ready(folder):
        found, counts, sentence = _examine(recipe, root, cache, folds)
        result = Audit(sum(counts.values()), counts, sentence, found, folder)
        _write(result, root)
    return result


def _examine(
    recipe: Recipe, root: Path, cache: Path | None, folds: int
) -> tuple[list[Finding], dict[str, int], str]:
    """The findings, photos by class, and a sentence about imbalance."""
    parts = split_of(recipe, root)
    photos = [*parts.train, *parts.validation, *parts.test]
    training = read_training(photos, recipe.data.cache_side, cache)
    copies = duplicates(locate(root, parts, training), parts.classes)
    found = [
        *_mislabelled(recipe, photos, training, parts.classes, folds, copies, cache),
        *unreadable(photos, training.unreadable, parts.classes),
        *tiny(photos, parts.classes),
        *copies,
    ]
    return found, *imbalance(photos, parts.classes)


def _mislabelled(
    recipe: Recipe,
    photos: Sequence[Photo],
    training: TrainingImages,
    classes: Sequence[str],
    folds: int,
    copies: Sequence[Finding],
    cache: Path | None,
) -> list[Finding]:
    smallest = int(training.labels.bincount(minlength=len(classes)).min())
    if smallest < folds:
        raise AuditError(
            f"{folds} folds need {folds} readable photos of each class, not {smallest}"
        )
    evaluation = read_evaluation(photos, recipe.input, cache)
    originals = _originals(training.paths, copies)
    scores = out_of_fold_scores(recipe, training, evaluation, folds, originals)
    return mislabelled(scores, training.labels, training.paths, classes)


def _originals(paths: Sequence[Path], copies: Sequence[Finding]) -> dict[int, int]:
    """The positions of copies, each with the position of what it repeats."""
    position = {path: at for at, path in enumerate(paths)}
    pairs: dict[int, int] = {}
    for finding in copies:
        if finding.original is not None:
            copy, original = position[finding.path], position[finding.original]
            # A contradiction is listed from both sides.
            if pairs.get(original) != copy:
                pairs[copy] = original
    return pairs


@contextmanager
def _ready(folder: Path) -> Iterator[None]:
    """Make ``folder`` before the networks are trained; take it away if nothing came of it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryDirectory(dir=folder).cleanup()  # says now what writing would say then
    except OSError as error:
        raise AuditError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()  # fails, as it should, on one that holds something


def _write(result: Audit, root: Path) -> None:
    """Write all the files beside their places, then move them there."""
    advised = {finding.path: finding for finding in result.findings if finding.exclude}
    page = render(result.findings, result.classes, result.imbalance, root)
    try:
        with TemporaryDirectory(dir=result.folder, prefix=".audit-") as name:
            beside = Path(name)
            _write_csv(beside / "audit.csv", result.findings, root)
            _write_csv(beside / "exclude.csv", list(advised.values()), root)
            (beside / "audit.html").write_text(page, encoding="utf-8", errors="replace")
            for path in sorted(beside.iterdir()):
                path.replace(result.folder / path.name)
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
