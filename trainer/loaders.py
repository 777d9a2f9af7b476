"""From photos in memory to batches, in an order that depends on the seed and the epoch alone."""

import os
import signal
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from trainer.augment import AugmentedImages, Batch
from trainer.data import EvaluationImages, TrainingImages
from trainer.recipe import Recipe

EVALUATION_BATCH = 128
_MAX_WORKERS = 8
_FEW_IMAGES = 64  # starting workers takes longer than augmenting so few


class EpochSampler(DistributedSampler[int]):
    """Yields (epoch, photo): the photo's augmentation can then be drawn from both.

    Shuffles by seed and epoch, and shares out between processes, as its parent does.
    """

    def __iter__(self) -> Iterator[tuple[int, int]]:  # type: ignore[override]
        """Pairs of the epoch and a photo's index."""
        return ((self.epoch, index) for index in super().__iter__())


def training_loader(
    recipe: Recipe, training: TrainingImages, processes: int = 1, rank: int = 0, epoch: int = 0
) -> DataLoader[Batch]:
    """Augmented batches for one of ``processes`` that train together, from ``epoch`` on."""
    images = AugmentedImages(training, recipe.augment, recipe.input, recipe.fit.seed)
    sampler = EpochSampler(
        images, num_replicas=processes, rank=rank, shuffle=True, seed=recipe.fit.seed
    )
    # On resuming, Lightning starts the workers before it tells the sampler which epoch it is.
    sampler.set_epoch(epoch)
    batch = max(1, recipe.fit.batch_size // processes)
    workers = _workers(len(images))
    return DataLoader(
        images,
        batch_size=batch,
        sampler=sampler,
        # A last batch of a photo or two would upset the batch norms.
        drop_last=len(sampler) >= batch,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_ignore_ctrl_c,
        pin_memory=torch.cuda.is_available(),
    )


def evaluation_loader(images: EvaluationImages) -> DataLoader[tuple[torch.Tensor, ...]]:
    """Batches of photos as the server would see them."""
    return DataLoader(TensorDataset(images.inputs, images.labels), batch_size=EVALUATION_BATCH)


def _workers(images: int) -> int:
    """As many as there are cores for each process that torchrun started on this host."""
    if images < _FEW_IMAGES:
        return 0
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(_MAX_WORKERS, (os.cpu_count() or 1) // processes))


def _ignore_ctrl_c(_worker: int) -> None:
    """A terminal sends Ctrl-C to the whole group; the main process ends the workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
