"""What networks say of photos that they were not trained on."""

import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytorch_lightning as lightning
import torch
from torch import Tensor

from trainer.data import EvaluationImages, TrainingImages
from trainer.export import assemble, logits_of
from trainer.loop import train
from trainer.networks.weights import load_weights
from trainer.recipe import Recipe
from trainer.run import create_run
from trainer.task import ClassificationTask


def out_of_fold_scores(
    recipe: Recipe, training: TrainingImages, evaluation: EvaluationImages, folds: int
) -> Tensor:
    """Train a network for each fold on all the others and score the fold with it.

    Args:
        recipe: How each is trained.
        training: The photos, reduced.
        evaluation: The same photos in the same order, at the input's size.
        folds: How many.

    Returns:
        softmax scores, float32 [n, classes].

    Raises:
        RunError: A loss became NaN, or Ctrl-C.
    """
    classes = int(training.labels.max()) + 1
    scores = torch.zeros(len(training.labels), classes)
    fold_of = stratified_folds(training.labels.tolist(), folds, recipe.fit.seed)
    for number in range(folds):
        learned = [i for i, fold in enumerate(fold_of) if fold != number]
        held_out = [i for i, fold in enumerate(fold_of) if fold == number]
        fold = _only(evaluation, held_out)
        with TemporaryDirectory() as folder:
            task = _trained(recipe, classes, training.subset(learned), fold, Path(folder))
        model = assemble(task.normalize, task.network)
        scores[held_out] = torch.softmax(logits_of(model, fold.inputs), dim=1)
    return scores


def stratified_folds(labels: Sequence[int], folds: int, seed: int) -> list[int]:
    """The fold of each photo: every class is spread evenly over all of them."""
    fold_of = [0] * len(labels)
    for label in sorted(set(labels)):
        positions = [i for i, own in enumerate(labels) if own == label]
        random.Random(f"{seed}-{label}").shuffle(positions)
        for place, position in enumerate(positions):
            fold_of[position] = place % folds
    return fold_of


def _trained(
    recipe: Recipe, classes: int, training: TrainingImages, fold: EvaluationImages, folder: Path
) -> ClassificationTask:
    lightning.seed_everything(recipe.fit.seed, workers=True, verbose=False)
    task = ClassificationTask(recipe, classes)
    load_weights(task.network, recipe.network)
    run = create_run(folder, recipe)
    train(task, training, fold, run)
    # The last, not the best: choosing by the fold would be looking at it.
    checkpoint = torch.load(run.last_checkpoint, map_location="cpu", weights_only=True)
    task.load_state_dict(checkpoint["state_dict"])
    return task.eval()


def _only(images: EvaluationImages, keep: Sequence[int]) -> EvaluationImages:
    return EvaluationImages(
        inputs=images.inputs[list(keep)],
        labels=images.labels[list(keep)],
        paths=[images.paths[i] for i in keep],
        digests=[images.digests[i] for i in keep],
        unreadable=[],
    )
