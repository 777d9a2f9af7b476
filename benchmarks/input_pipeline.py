"""Whether photos keep up with training: ``python -m benchmarks.input_pipeline --data DIR``.

DIR holds class folders. The same network takes the same steps with the trainer's loader (photos
decoded once into a mapped pack) and with torchvision's ImageFolder (decoded in every epoch), the
same augmentation and as many workers, by turns in one run. Reported are the share of a step
spent waiting for photos, after the first epoch's start, and the loaders' memory.
"""

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from trainer.augment import Batch, photo_transform
from trainer.data import Photo, read_training
from trainer.loaders import training_loader
from trainer.recipe import Recipe, load_recipe
from trainer.run import environment
from trainer.task import ClassificationTask

_NETWORK = ("network.weights=none", "fit.head_epochs=0")


@dataclass(frozen=True)
class Round:
    """What some steps took.

    Attributes:
        wait_s: Seconds spent waiting for photos.
        total_s: Seconds altogether.
        workers_mib: Memory of the loader's workers, shared pages divided between them.
    """

    wait_s: float
    total_s: float
    workers_mib: float


def endless(loader: DataLoader[Batch]) -> Iterator[Batch]:
    """Epoch after epoch."""
    return itertools.chain.from_iterable(itertools.repeat(loader))


def image_folder(root: Path, recipe: Recipe, workers: int) -> DataLoader[Batch]:
    """What torchvision's reference script would use."""
    images = ImageFolder(str(root), photo_transform(recipe.augment, recipe.input))
    return DataLoader(
        images,
        recipe.fit.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def our_loader(root: Path, recipe: Recipe, cache: Path) -> DataLoader[Batch]:
    """The trainer's, over the same files."""
    samples = ImageFolder(str(root)).samples
    photos = [Photo(Path(path), label) for path, label in samples]
    return training_loader(recipe, read_training(photos, recipe.data.cache_side, cache))


def take_steps(
    task: ClassificationTask, optimizer: torch.optim.Optimizer, batches: Iterator[Batch], steps: int
) -> Round:
    """Forward, backward and update, ``steps`` times."""
    waited, began = 0.0, time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        images, labels = next(batches)
        waited += time.perf_counter() - asked
        with torch.autocast("cpu", torch.bfloat16):
            logits = task.network(task.normalize(images))
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    return Round(waited, time.perf_counter() - began, workers_mib())


def workers_mib() -> float:
    """Proportional set size of this process's children, in MiB (proc(5), smaps_rollup)."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    total = 0
    for child in children:
        for line in Path(f"/proc/{child}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def main() -> None:
    """Interleave, print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of class folders")
    parser.add_argument("--side", type=int, default=224, help="of the network's input, pixels")
    parser.add_argument("--steps", type=int, default=10, help="in a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    recipe = load_recipe("cats-vs-dogs-resnet50", [*_NETWORK, f"augment.crop_side={options.side}"])
    task = ClassificationTask(recipe, 2).train()
    optimizer = torch.optim.SGD(task.parameters(), lr=1e-3)
    with TemporaryDirectory() as folder:
        began = time.perf_counter()
        ours = our_loader(options.data, recipe, Path(folder))
        decode_s = time.perf_counter() - began
        pack_mib = sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20
        loaders = {
            "ours": ours,
            "ImageFolder": image_folder(options.data, recipe, ours.num_workers),
        }
        rounds: dict[str, list[Round]] = {name: [] for name in loaders}
        for _ in range(options.rounds):
            for name, loader in loaders.items():
                batches = endless(loader)
                take_steps(task, optimizer, batches, 2)  # the workers start
                rounds[name].append(take_steps(task, optimizer, batches, options.steps))
    report(options, rounds, decode_s, pack_mib, len(ours.dataset))  # type: ignore[arg-type]


def report(
    options: argparse.Namespace,
    rounds: dict[str, list[Round]],
    decode_s: float,
    pack_mib: float,
    photos: int,
) -> None:
    """Medians with their ranges."""
    print(" ".join(f"{name} {version}" for name, version in environment().items()))
    print(f"{photos} photos decoded once in {decode_s:.1f} s into {pack_mib:.0f} MiB on disk")
    figures = {}
    for name, taken in rounds.items():
        shares = sorted(one.wait_s / one.total_s for one in taken)
        steps = sorted(one.total_s / options.steps for one in taken)
        memory = max(one.workers_mib for one in taken)
        figures[name] = {"wait_share": shares, "step_s": steps, "workers_mib": memory}
        print(
            f"{name:12} waiting {statistics.median(shares):6.2%}"
            f" ({shares[0]:.2%} to {shares[-1]:.2%}), step {statistics.median(steps):.3f} s"
            f" ({steps[0]:.3f} to {steps[-1]:.3f}), workers {memory:.0f} MiB"
        )
    ratios = sorted(
        other.total_s / one.total_s
        for one, other in zip(rounds["ours"], rounds["ImageFolder"], strict=True)
    )
    print(
        f"ImageFolder's step over ours: {statistics.median(ratios):.2f}"
        f" ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
