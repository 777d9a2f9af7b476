"""Run a recipe. The only file that drives Lightning's Trainer."""

import logging
import os
from pathlib import Path

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import (
    Callback,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
)
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from trainer.augment import AugmentedImages, Batch
from trainer.data import (
    Catalogue,
    EvaluationImages,
    TrainingImages,
    catalogue,
    fingerprint,
    read_evaluation,
    read_training,
    without_duplicates,
)
from trainer.errors import RunError
from trainer.recipe import Recipe
from trainer.run import DataRecord, Run, create_run
from trainer.task import ClassificationTask

log = logging.getLogger(__name__)

EVALUATION_BATCH = 128
_MAX_WORKERS = 8


def fit(recipe: Recipe, data: Path, runs: Path) -> Run:
    """Train ``recipe`` on the photos below ``data``; the run's folder goes below ``runs``.

    Raises:
        DataError: The data cannot be trained on.
        RunError: The loss became NaN or infinite.
    """
    lightning.seed_everything(recipe.fit.seed, workers=True, verbose=False)
    photos = catalogue(data, recipe.data, recipe.fit.seed)
    test = read_evaluation(photos.test, recipe.input)
    training, duplicates = without_duplicates(
        read_training(photos.train, recipe.data.cache_side), set(test.digests)
    )
    validation = read_evaluation(photos.validation, recipe.input)
    run = create_run(runs, recipe)
    record = _record(data, photos, training, validation, duplicates)
    run.write("data.json", record.model_dump_json(indent=2))
    task = ClassificationTask(recipe, len(photos.classes))
    _train(run, task, training, validation)
    return run


def _record(
    data: Path,
    photos: Catalogue,
    training: TrainingImages,
    validation: EvaluationImages,
    duplicates: int,
) -> DataRecord:
    unreadable = [*training.unreadable, *validation.unreadable]
    for item in unreadable:
        log.warning("left out %s: it %s", item.path, item.reason)
    return DataRecord(
        root=str(data),
        classes=photos.classes,
        train_images=len(training.images),
        validation_images=len(validation.paths),
        fingerprint=fingerprint(training.digests),
        train_digests=tuple(sorted(training.digests)),
        unreadable={str(item.path): item.reason for item in unreadable},
        duplicates_left_out=duplicates,
    )


def _train(
    run: Run, task: ClassificationTask, training: TrainingImages, validation: EvaluationImages
) -> None:
    fit_spec = task.recipe.fit
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=fit_spec.epochs,
        precision=fit_spec.precision,
        gradient_clip_val=fit_spec.gradient_clip_norm or None,
        callbacks=_callbacks(run, task.recipe),
        logger=CSVLogger(run.folder.parent, name="", version=run.folder.name),
        enable_model_summary=False,
        detect_anomaly=False,
    )
    trainer.fit(task, _training_loader(task.recipe, training), _evaluation_loader(validation))
    loss = trainer.callback_metrics["train/loss"]
    if not torch.isfinite(loss):
        raise RunError(f"the training loss became {loss.item()}; try a smaller max_learning_rate")


def _callbacks(run: Run, recipe: Recipe) -> list[Callback]:
    callbacks: list[Callback] = [
        ModelCheckpoint(
            run.checkpoints,
            filename="best",
            monitor="validation/loss",
            mode="min",
            save_last=True,
            enable_version_counter=False,
        ),
        LearningRateMonitor("epoch"),
    ]
    if recipe.fit.ema_decay > 0:
        # The callback evaluates and saves the averaged weights.
        callbacks.append(EMAWeightAveraging(decay=recipe.fit.ema_decay))
    return callbacks


def _training_loader(recipe: Recipe, training: TrainingImages) -> DataLoader[Batch]:
    workers = min(_MAX_WORKERS, os.cpu_count() or 1)
    return DataLoader(
        AugmentedImages(training, recipe.augment, recipe.input),
        batch_size=recipe.fit.batch_size,
        shuffle=True,
        drop_last=len(training.images) >= recipe.fit.batch_size,
        num_workers=workers,
        persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
    )


def _evaluation_loader(images: EvaluationImages) -> DataLoader[tuple[torch.Tensor, ...]]:
    return DataLoader(TensorDataset(images.inputs, images.labels), batch_size=EVALUATION_BATCH)
