"""From a recipe and photos to a finished run."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor

from trainer.checkpoints import read_checkpoint
from trainer.data import (
    Catalogue,
    EvaluationImages,
    TrainingImages,
    default_cache,
    fingerprint,
    read_evaluation,
    read_training,
    resolve_data,
    short_sides,
    split_of,
    without_duplicates,
)
from trainer.errors import DataError, RunError
from trainer.history import rewind_history
from trainer.loop import train
from trainer.networks.weights import load_weights, portable_name
from trainer.processes import Processes, processes
from trainer.recipe import Recipe
from trainer.run import DataRecord, Run, create_run
from trainer.task import ClassificationTask

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """Photos, ready to train on.

    Attributes:
        training: Photos to train on.
        validation: Photos that choose the best checkpoint.
        record: What they are, for the run's folder.
    """

    training: TrainingImages
    validation: EvaluationImages
    record: DataRecord


def fit(
    recipe: Recipe,
    data: Path | None,
    runs: Path,
    *,
    cache: Path | None = None,
    exclude: Path | None = None,
) -> Run:
    """Train ``recipe``; the run's folder goes below ``runs``.

    Under torchrun, all its processes train together.

    Args:
        recipe: What to do.
        data: A folder or an archive; the recipe's public data set where it is not given.
        runs: Made where it is missing.
        cache: Where archives are unpacked and decoded photos kept; in memory where not given.
        exclude: CSV file whose column ``path`` names photos to leave out.

    Raises:
        DataError: The data cannot be trained on.
        WeightsError: The weights to start from cannot be had.
        RunError: The loss became NaN or infinite, the folder cannot be written, or Ctrl-C.
    """
    recipe = without_idle_epochs(recipe)
    with processes() as together:
        lightning.seed_everything(recipe.fit.seed, workers=True, verbose=False)
        with together.first_goes_first():
            root = resolve_data(data, recipe.data, cache or default_cache())
            photos = split_of(recipe, root, exclude)
            # Before minutes of decoding: weights that cannot be had end the run.
            task = ClassificationTask(recipe, len(photos.classes))
            weights = load_weights(task.network, recipe.network)
            prepared = prepare(recipe, root, photos, cache)
        if weights.loaded:
            log.info("%d tensors start from %s", weights.loaded, weights.origin)
        run = _new_run(recipe, prepared.record, runs, exclude, together)
        try:
            train(task, prepared.training, prepared.validation, run, together=together)
        except BaseException:
            _remove_if_empty(run)
            raise
        return run


def resume(run: Run, cache: Path | None = None) -> Run:
    """Go on with a run that was stopped or killed, from its last finished epoch.

    The weights at the end are those of a run that was never stopped.

    Raises:
        DataError: The data cannot be read any more.
        RunError: The run has no checkpoint, its data has changed, or training failed.
    """
    recipe, record = run.recipe(), run.data()
    checkpoint = _last_checkpoint(run)
    finished = int(checkpoint["epoch"]) + 1
    if finished >= recipe.fit.epochs or _stopped_early(checkpoint):
        return run
    with processes() as together:
        lightning.seed_everything(recipe.fit.seed, workers=True, verbose=False)
        with together.first_goes_first():
            root = Path(record.root)
            prepared = prepare(recipe, root, split_of(recipe, root, run.exclude), cache)
        if prepared.record.fingerprint != record.fingerprint:
            raise RunError(f"{record.root} is not what {run.folder} was trained on")
        if together.first:
            rewind_history(run.folder / "metrics.csv", finished)
        task = ClassificationTask(recipe, len(record.classes))
        train(
            task,
            prepared.training,
            prepared.validation,
            run,
            finished_epochs=finished,
            together=together,
        )
        return run


def without_idle_epochs(recipe: Recipe) -> Recipe:
    """The recipe without frozen epochs where the body has no weights worth freezing."""
    if recipe.network.weights != "none" or recipe.fit.head_epochs == 0:
        return recipe
    log.warning("head_epochs is ignored: the body starts from nothing and must learn as well")
    return recipe.with_fit(head_epochs=0)


def prepare(recipe: Recipe, root: Path, photos: Catalogue, cache: Path | None) -> Prepared:
    """Read and check the photos of a recipe.

    Raises:
        DataError: The data cannot be trained on.
    """
    test = read_evaluation(photos.test, recipe.input, cache)
    validation = read_evaluation(photos.validation, recipe.input, cache)
    training, duplicates = without_duplicates(
        read_training(photos.train, recipe.data.cache_side, cache),
        {*test.digests, *validation.digests},
    )
    record = _record(root, photos, training, validation, test, duplicates)
    _refuse_lost(record)
    return Prepared(training, validation, record)


def _last_checkpoint(run: Run) -> dict[str, Any]:
    if not run.last_checkpoint.is_file():
        raise RunError(f"{run.folder} has no checkpoint to resume from")
    return read_checkpoint(run.last_checkpoint)


def _stopped_early(checkpoint: dict[str, Any]) -> bool:
    """Whether the validation loss had not fallen for long enough: another epoch would be one more.

    Lightning keeps each callback's state by its name and arguments.
    """
    states = checkpoint["callbacks"].items()
    return any(
        name.startswith("EarlyStopping") and state["stopped_epoch"] > 0 for name, state in states
    )


def _new_run(
    recipe: Recipe, record: DataRecord, runs: Path, exclude: Path | None, together: Processes
) -> Run:
    """The run's folder, made by the first process and known to all."""
    if not together.first:
        return Run(Path(together.share("")))
    network = recipe.network.model_copy(update={"weights": portable_name(recipe.network.weights)})
    try:
        run = create_run(runs, recipe.model_copy(update={"network": network}))
        run.write("data.json", record.model_dump_json(indent=2))
        if exclude is not None:
            shutil.copyfile(exclude, run.folder / "exclude.csv")
    except OSError as error:
        raise RunError(f"{runs} cannot be written: {error.strerror}") from error
    together.share(str(run.folder))
    return run


def _remove_if_empty(run: Run) -> None:
    """A run that failed before its first checkpoint is of no use to anybody."""
    if not run.last_checkpoint.is_file():
        shutil.rmtree(run.folder, ignore_errors=True)


def _record(
    root: Path,
    photos: Catalogue,
    training: TrainingImages,
    validation: EvaluationImages,
    test: EvaluationImages,
    duplicates: int,
) -> DataRecord:
    unreadable = [*training.unreadable, *validation.unreadable, *test.unreadable]
    for item in unreadable:
        log.warning("left out %s: it %s", item.path, item.reason)
    return DataRecord(
        root=str(root.resolve()),
        classes=photos.classes,
        train_images=len(training.images),
        validation_images=len(validation.paths),
        fingerprint=fingerprint(training.digests),
        train_digests=tuple(sorted(training.digests)),
        unreadable={str(item.path.relative_to(root)): item.reason for item in unreadable},
        duplicates_left_out=duplicates,
        counts=_counts(
            len(photos.classes),
            {"train": training.labels, "validation": validation.labels, "test": test.labels},
        ),
        short_side_quantiles=_quantiles(short_sides([photo.path for photo in photos.train])),
    )


def _refuse_lost(record: DataRecord) -> None:
    """Refuse a class of which no photo is left in a part: a network cannot learn or show it."""
    for part, counts in record.counts.items():
        for name, count in zip(record.classes, counts, strict=True):
            if count == 0:
                raise DataError(
                    f"class {name!r} has no {part} photo left: {len(record.unreadable)} photos"
                    f" are unreadable, {record.duplicates_left_out} training photos are the same"
                    " files as held-out ones"
                )


def _counts(classes: int, parts: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {
        part: tuple(torch.bincount(labels, minlength=classes).tolist())
        for part, labels in parts.items()
    }


def _quantiles(values: Sequence[int]) -> tuple[int, ...]:
    """Smallest, quartiles, largest of sorted values."""
    last = len(values) - 1
    return tuple(values[round(last * quarter / 4)] for quarter in range(5)) if values else ()
