"""A recipe for any folder of class folders, chosen from its layout and size."""

import re
from pathlib import Path
from statistics import median

from trainer.data import class_photos, short_sides
from trainer.errors import DataError
from trainer.recipe import Recipe, parse_recipe

_TEST_NAMES = ("test", "validation", "valid", "val")
_SMALL_PIXELS = 96  # photos of a smaller short side are trained at 64
_STEPS = 6_000  # of batches of 64: what a small network needs from scratch, as a rule of thumb
_FEWEST_EPOCHS, _MOST_EPOCHS = 10, 60
_BATCH = 64
# ImageNet's means and deviations, as torchvision's transforms use them.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def default_recipe(data: Path) -> Recipe:
    """Sensible settings for the photos below ``data``: a small residual network from scratch.

    ``data`` holds class folders, or ``train`` and one of ``test``, ``validation``, ``valid``
    and ``val``, each with class folders.

    Raises:
        DataError: There are no class folders with photos.
    """
    train, test = _layout(data)
    photos = [path for folder in train for path in class_photos(data / folder)]
    if not photos:
        raise DataError(f"{data} holds no class folders with photos")
    side = _input_side(photos)
    name = re.sub(r"[^a-z0-9._-]+", "-", data.resolve().name.lower()).strip("-._") or "photos"
    return parse_recipe(
        {
            "name": name[:63],
            "model": name[:63],
            "description": f"Classes of {data.resolve().name}, by the trainer's defaults.",
            "data": {
                "train": train,
                "test": test,
                "test_fraction": 0.0 if test else 0.15,
                "validation_fraction": 0.15,
                "cache_side": round(side * 1.375),
            },
            "input": {"height": side, "width": side, "mean": _MEAN, "std": _STD},
            "network": {
                "name": "resnet",
                "depths": [2, 2, 3, 1],
                "widths": [32, 64, 144, 304],
                "dropout": 0.2,
            },
            "augment": {"mixup_alpha": 0.2, "erasing": 0.1},
            "fit": {
                "epochs": _epochs(len(photos)),
                "batch_size": _BATCH if len(photos) >= 4 * _BATCH else 16,
                "optimizer": "adamw",
                "max_learning_rate": 3e-3,
                "weight_decay": 0.05,
                "gradient_clip_norm": 1.0,
                "label_smoothing": 0.1,
                "ema_decay": 0.99,
                "precision": "bf16-mixed",
            },
        },
        "the default recipe",
    )


def _layout(data: Path) -> tuple[list[str], list[str]]:
    if not data.is_dir():
        raise DataError(f"{data} is no folder")
    if not (data / "train").is_dir():
        return ["."], []
    return ["train"], [name for name in _TEST_NAMES if (data / name).is_dir()][:1]


def _input_side(photos: list[Path]) -> int:
    """128, or 64 for small photos, by the median short side of some of them."""
    sides = short_sides(photos)
    return 64 if sides and median(sides) < _SMALL_PIXELS else 128


def _epochs(photos: int) -> int:
    return min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, round(_STEPS * _BATCH / photos)))
