"""What networks say of photos that they were not trained on."""

import logging
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytorch_lightning as lightning
import torch
from torch import Tensor

from trainer.checkpoints import read_checkpoint
from trainer.data import EvaluationImages, TrainingImages
from trainer.errors import InterruptedRunError
from trainer.export import assemble
from trainer.logits import logits_of
from trainer.loop import train
from trainer.networks.weights import load_weights
from trainer.recipe import Recipe
from trainer.run import create_run
from trainer.task import ClassificationTask

log = logging.getLogger(__name__)


def out_of_fold_scores(
    recipe: Recipe,
    training: TrainingImages,
    evaluation: EvaluationImages,
    folds: int,
    originals: Mapping[int, int],
) -> Tensor:
    """Train a network for each fold on all the others and score the fold with it.

    Args:
        recipe: How each is trained.
        training: The photos, reduced.
        evaluation: The same photos in the same order, at the input's size.
        folds: How many.
        originals: Copies, each with the photo it repeats, by position. Both are in one fold: a
            network that has learned the copy would repeat its label.

    Returns:
        softmax scores, float32 [n, classes].

    Raises:
        RunError: A loss became NaN.
        KeyboardInterrupt: Ctrl-C.
    """
    classes = int(training.labels.max()) + 1
    scores = torch.zeros(len(training.labels), classes)
    fold_of = stratified_folds(training.labels.tolist(), folds, recipe.fit.seed, originals)
    for number in range(folds):
        log.info("fold %d of %d", number + 1, folds)
        learned = [i for i, fold in enumerate(fold_of) if fold != number]
        held_out = [i for i, fold in enumerate(fold_of) if fold == number]
        fold = evaluation.subset(held_out)
        with TemporaryDirectory() as folder:
            task = _trained(recipe, classes, training.subset(learned), fold, Path(folder))
        scores[held_out] = _scores(task, fold.inputs)
    return scores


def stratified_folds(
    labels: Sequence[int], folds: int, seed: int, originals: Mapping[int, int]
) -> list[int]:
    """The fold of each photo.

    Every class is spread evenly over all folds, but for copies, which go with their originals.
    """
    fold_of = [0] * len(labels)
    for label in sorted(set(labels)):
        positions = [i for i, own in enumerate(labels) if own == label and i not in originals]
        random.Random(f"{seed}-{label}").shuffle(positions)
        for place, position in enumerate(positions):
            fold_of[position] = place % folds
    for copy in originals:
        original = originals[copy]
        while original in originals:
            original = originals[original]
        fold_of[copy] = fold_of[original]
    return fold_of


def _trained(
    recipe: Recipe, classes: int, training: TrainingImages, fold: EvaluationImages, folder: Path
) -> ClassificationTask:
    lightning.seed_everything(recipe.fit.seed, workers=True, verbose=False)
    task = ClassificationTask(recipe, classes)
    load_weights(task.network, recipe.network)
    run = create_run(folder, recipe)
    try:
        train(task, training, fold, run)
    except InterruptedRunError:
        # Its advice is to resume, and this folder is about to go.
        raise KeyboardInterrupt from None
    # The last, not the best: choosing by the fold would be looking at it.
    task.load_state_dict(read_checkpoint(run.last_checkpoint)["state_dict"])
    return task.eval()


def _scores(task: ClassificationTask, inputs: Tensor) -> Tensor:
    """softmax scores, float32 [n, classes]; of a photo and its mirror image where both are real."""
    model = assemble(task.normalize, task.network)
    views = [inputs, inputs.flip(-1)] if task.recipe.augment.flip else [inputs]
    return torch.stack([torch.softmax(logits_of(model, view), dim=1) for view in views]).mean(dim=0)
