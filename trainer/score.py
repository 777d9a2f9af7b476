"""A finished run's answers on its own held-out photos.

What ``evaluate``, ``report``, ``compare`` and ``publish`` all start from: the
best checkpoint, exported, run over the validation and the test photos, and
calibrated on the former.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.manifest import Calibration, Label, Metrics
from trainer.checkpoints import read_checkpoint
from trainer.confidence import calibrate
from trainer.data import (
    Catalogue,
    EvaluationImages,
    default_cache,
    read_evaluation,
    resolve_data,
    split_of,
)
from trainer.errors import RunError
from trainer.evaluate import Evaluation, evaluate, measure
from trainer.export import export
from trainer.logits import logits_of
from trainer.recipe import Recipe
from trainer.run import DataRecord, Run
from trainer.task import ClassificationTask

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predictions:
    """Answers on labelled photos.

    Attributes:
        images: The photos as the server would see them, with labels, paths and digests.
        logits: float32 [n, classes].
    """

    images: EvaluationImages
    logits: Tensor

    def scores(self, temperature: float) -> Tensor:
        """softmax(logits / temperature), float32 [n, classes]."""
        return torch.softmax(self.logits / temperature, dim=1)


@dataclass(frozen=True)
class ScoredRun:
    """A finished run and its answers.

    Attributes:
        run: Its folder.
        recipe: As it was run.
        data: What it was trained on.
        root: The data folder.
        photos: The split.
        labels: Id and display name of each class, in the order of the logits.
        module: The best checkpoint, scripted: fp32, eval mode, on the CPU.
        calibration: Made on the validation photos.
        validation: Answers on the validation photos.
        test: Answers on the test photos.
        metrics: Figures on the test photos, after calibration.
    """

    run: Run
    recipe: Recipe
    data: DataRecord
    root: Path
    photos: Catalogue
    labels: tuple[Label, ...]
    module: torch.jit.ScriptModule
    calibration: Calibration
    validation: Predictions
    test: Predictions
    metrics: Metrics

    @property
    def temperature(self) -> float:
        """Of the scores."""
        return self.calibration.temperature

    @property
    def names(self) -> list[str]:
        """The classes as people read them."""
        return [label.display_name for label in self.labels]

    def evaluation(self) -> Evaluation:
        """All figures on the test photos."""
        return evaluate(self.test.logits, self.test.images.labels, self.names, self.temperature)


def load_network(run: Run) -> ClassificationTask:
    """The task of a run with the weights of its best checkpoint, on the CPU, in eval mode.

    Raises:
        RunError: The run has no checkpoint, or a damaged one.
    """
    task = ClassificationTask(run.recipe(), len(run.data().classes))
    try:
        task.load_state_dict(read_checkpoint(run.best_checkpoint)["state_dict"])
    except RuntimeError as error:  # torch's word for other names or shapes
        raise RunError(
            f"{run.best_checkpoint} is of another network than recipe.json names"
        ) from error
    return task.eval()


def score(run: Run, data: Path | None = None, cache: Path | None = None) -> ScoredRun:
    """Export a run's best checkpoint and run it over the run's held-out photos.

    Args:
        run: A finished run.
        data: A folder or an archive; what the run trained on where it is not given.
        cache: Where archives are unpacked and decoded photos kept; in memory where not given.

    Raises:
        DataError: The photos cannot be read.
        RunError: The run is not finished, its answers are no numbers, or the photos are of
            other classes.
    """
    recipe, record = run.recipe(), run.data()
    task = load_network(run)
    module = export(task.normalize, task.network)
    root = resolve_data(data or Path(record.root), recipe.data, cache or default_cache())
    photos = split_of(recipe, root, run.exclude)
    _refuse_other_classes(run, root, photos.classes)
    validation = read_evaluation(photos.validation, recipe.input, cache)
    test = read_evaluation(photos.test, recipe.input, cache)
    _warn_of_trained_on(record, test)
    validation_logits = logits_of(module, validation.inputs)
    test_logits = logits_of(module, test.inputs)
    if not bool(torch.isfinite(torch.cat([validation_logits, test_logits])).all()):
        raise RunError(f"{run.folder} gives logits that are NaN or infinite")
    calibration = calibrate(validation_logits, validation.labels, recipe.abstain_risk)
    return ScoredRun(
        run=run,
        recipe=recipe,
        data=record,
        root=root,
        photos=photos,
        labels=labels_of(recipe, record.classes),
        module=module,
        calibration=calibration,
        validation=Predictions(validation, validation_logits),
        test=Predictions(test, test_logits),
        metrics=measure(test_logits, test.labels, calibration.temperature),
    )


def _refuse_other_classes(run: Run, root: Path, classes: tuple[str, ...]) -> None:
    recipe, learned = run.recipe(), run.data().classes
    if labels_of(recipe, learned) != labels_of(recipe, classes):
        raise RunError(
            f"{root} has the classes {', '.join(classes)};"
            f" {run.folder} was trained on {', '.join(learned)}"
        )


def _warn_of_trained_on(record: DataRecord, test: EvaluationImages) -> None:
    """A random split is another one once photos were added or removed."""
    trained_on = len(set(test.digests) & set(record.train_digests))
    if trained_on:
        log.warning(
            "%d of %d test photos were trained on, so the figures flatter: have the photos changed"
            " since?",
            trained_on,
            len(test.paths),
        )


def labels_of(recipe: Recipe, classes: tuple[str, ...]) -> tuple[Label, ...]:
    """What the classes are called in answers.

    Args:
        recipe: Names them.
        classes: Ids; runs of earlier releases have class folders here.
    """
    specs = {spec.id: spec for spec in recipe.labels.values()} | recipe.labels
    return tuple(
        Label(id=specs[name].id, display_name=specs[name].display_name)
        if name in specs
        else Label(id=name, display_name=name.replace("_", " ").title())
        for name in classes
    )
