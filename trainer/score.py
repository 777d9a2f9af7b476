"""A finished run's answers on its own held-out photos.

What ``evaluate``, ``report``, ``compare`` and ``publish`` all start from: the
best checkpoint, exported, run over the validation and the test photos, and
calibrated on the former.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.manifest import Label, Metrics
from trainer.data import (
    Catalogue,
    EvaluationImages,
    catalogue,
    default_cache,
    read_evaluation,
    resolve_data,
)
from trainer.errors import RunError
from trainer.evaluate import Evaluation, evaluate, fit_temperature, measure
from trainer.export import export, logits_of
from trainer.recipe import Recipe
from trainer.run import DataRecord, Run
from trainer.task import ClassificationTask


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
        temperature: Fitted on the validation photos.
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
    temperature: float
    validation: Predictions
    test: Predictions
    metrics: Metrics

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
        RunError: The run has no checkpoint.
    """
    task = ClassificationTask(run.recipe(), len(run.data().classes))
    checkpoint = torch.load(run.best_checkpoint, map_location="cpu", weights_only=True)
    task.load_state_dict(checkpoint["state_dict"])
    return task.eval()


def score(run: Run, data: Path | None = None, cache: Path | None = None) -> ScoredRun:
    """Export a run's best checkpoint and run it over the run's held-out photos.

    Args:
        run: A finished run.
        data: A folder or an archive; what the run trained on where it is not given.
        cache: Where archives are unpacked and decoded photos kept; in memory where not given.

    Raises:
        DataError: The photos cannot be read.
        RunError: The run is not finished, or its answers are no numbers.
    """
    recipe, record = run.recipe(), run.data()
    task = load_network(run)
    module = export(task.normalize, task.network)
    root = resolve_data(data or Path(record.root), recipe.data, cache or default_cache())
    photos = catalogue(
        root, recipe.data, recipe.fit.seed, labels=recipe.labels, exclude=run.exclude
    )
    validation = read_evaluation(photos.validation, recipe.input, cache)
    test = read_evaluation(photos.test, recipe.input, cache)
    validation_logits = logits_of(module, validation.inputs)
    test_logits = logits_of(module, test.inputs)
    if not bool(torch.isfinite(torch.cat([validation_logits, test_logits])).all()):
        raise RunError(f"{run.folder} gives logits that are NaN or infinite")
    temperature = fit_temperature(validation_logits, validation.labels)
    return ScoredRun(
        run=run,
        recipe=recipe,
        data=record,
        root=root,
        photos=photos,
        labels=labels_of(recipe, record.classes),
        module=module,
        temperature=temperature,
        validation=Predictions(validation, validation_logits),
        test=Predictions(test, test_logits),
        metrics=measure(test_logits, test.labels, temperature),
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
