"""A recipe for any folder of class folders, chosen from its layout, its size and the weights."""

import re
from pathlib import Path
from statistics import median

from trainer.data import class_photos, short_sides
from trainer.errors import DataError
from trainer.networks.origins import recipe_of_origin
from trainer.recipe import DataSpec, Recipe, parse_recipe

ANY_FOLDERS = DataSpec(test_fraction=0.15, validation_fraction=0.15)
"""What is looked for, in an archive too, when no recipe names it: class folders."""

Section = dict[str, object]

_TEST_NAMES = ("test", "validation", "valid", "val")
_SMALL_PIXELS = 96  # photos of a smaller short side are trained at 64
_IMAGENET_PIXELS = 224  # what ImageNet weights were trained at, or close to it
_STEPS = 6_000  # of batches of 64: what a small network needs from scratch, as a rule of thumb
_FEWEST_EPOCHS, _MOST_EPOCHS = 10, 60
_TRANSFER_STEPS = 1_500  # weights that know photos already need fewer
_FEWEST_TRANSFER_EPOCHS, _MOST_TRANSFER_EPOCHS = 4, 20
_BATCH, _SMALL_BATCH = 64, 16
_MANY_PHOTOS = 16 * _BATCH  # fewer give too few steps an epoch to learn from
# ImageNet's means and deviations, as torchvision's transforms use them.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def default_recipe(data: Path, weights: str = "none", title: str = "") -> Recipe:
    """Sensible settings for the photos below ``data``.

    From scratch a small residual network. From "imagenet" ResNet18; from a run or a published
    version its own network at its own input size: the head first, then everything, gently. From
    any other file the small network, which is what the file has to be of.

    ``data`` holds class folders, or ``train`` and one of ``test``, ``validation``, ``valid``
    and ``val``, each with class folders. ``title`` names the recipe; the folder does where none
    is given.

    Raises:
        DataError: There are no class folders with photos.
        WeightsError: ``weights`` is a folder, and neither a run's nor a version's.
    """
    train, test = _layout(data)
    photos = [path for folder in train for path in class_photos(data / folder)]
    if not photos:
        raise DataError(f"{data} holds no class folders with photos")
    image, network = _input(photos, weights), network_of(weights)
    title = title or data.absolute().name  # a link's own name
    name = (re.sub(r"[^a-z0-9._-]+", "-", title.lower()).strip("-._") or "photos")[:63]
    return parse_recipe(
        {
            "name": name,
            "model": name,
            "description": f"Classes of {title}, by the trainer's defaults.",
            "data": {
                "train": train,
                "test": test,
                "test_fraction": 0.0 if test else 0.15,
                "validation_fraction": 0.15,
                "cache_side": round(int(str(image["height"])) * 1.375),
            },
            "input": image,
            "network": {**network, "dropout": 0.2, "weights": weights},
            "augment": {"mixup_alpha": 0.2, "erasing": 0.1},
            "fit": _fit(len(photos), transfer=weights != "none"),
        },
        "the default recipe",
    )


def network_of(weights: str) -> Section:
    """The ``[network]`` that ``weights`` fit.

    Raises:
        WeightsError: ``weights`` is a folder, and neither a run's nor a version's.
    """
    if weights == "imagenet":
        return {"name": "resnet18"}
    origin = _origin(weights)
    if origin is not None:
        return origin["network"]
    return {"name": "resnet", "depths": [2, 2, 3, 1], "widths": [32, 64, 144, 304]}


def _origin(weights: str) -> dict[str, Section] | None:
    """The recipe of a run or of a version; None where ``weights`` is neither."""
    if weights in ("none", "imagenet") or not Path(weights).is_dir():
        return None
    return parse_recipe(recipe_of_origin(Path(weights)), weights).model_dump(mode="json")


def _layout(data: Path) -> tuple[list[str], list[str]]:
    if not data.is_dir():
        raise DataError(f"{data} is no folder")
    if not _holds_folders(data / "train"):  # a class may be called "train"
        return ["."], []
    return ["train"], [name for name in _TEST_NAMES if _holds_folders(data / name)][:1]


def _holds_folders(folder: Path) -> bool:
    return folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir())


def _input(photos: list[Path], weights: str) -> Section:
    """That of the run or version; else 128, or 64 for small photos, by the median short side."""
    origin = _origin(weights)
    if origin is not None:
        return origin["input"]
    sides = short_sides(photos)
    side = 64 if sides and median(sides) < _SMALL_PIXELS else 128
    if weights == "imagenet":
        side = _IMAGENET_PIXELS
    return {"height": side, "width": side, "mean": _MEAN, "std": _STD}


def _fit(photos: int, *, transfer: bool) -> Section:
    settings: Section = {
        "batch_size": _BATCH if photos >= _MANY_PHOTOS else _SMALL_BATCH,
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "gradient_clip_norm": 1.0,
        "label_smoothing": 0.1,
        "ema_decay": 0.99,
        "precision": "bf16-mixed",
    }
    if not transfer:
        epochs = _epochs(photos, _STEPS, _FEWEST_EPOCHS, _MOST_EPOCHS)
        return {**settings, "epochs": epochs, "max_learning_rate": 3e-3}
    epochs = _epochs(photos, _TRANSFER_STEPS, _FEWEST_TRANSFER_EPOCHS, _MOST_TRANSFER_EPOCHS)
    return {
        **settings,
        "epochs": epochs,
        "head_epochs": 1,
        "head_learning_rate": 3e-3,
        "max_learning_rate": 1e-3,
        "discrimination": 0.1,
    }


def _epochs(photos: int, steps: int, fewest: int, most: int) -> int:
    return min(most, max(fewest, round(steps * _BATCH / photos)))
