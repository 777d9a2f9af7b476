"""Synthetic class folders: reddish photos are one class, bluish ones the other."""

from pathlib import Path

import numpy as np
from PIL import Image

RECIPE = """
name = "tiny"
model = "red-or-blue"
description = "Red or blue."
minimum_accuracy = {floor}

[data]
train = ["train"]
test = ["test"]
validation_fraction = 0.25
cache_side = 32

[input]
height = 32
width = 32
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]

[network]
name = "resnet"
depths = [1]
widths = [8]

[augment]
trivial = false

[fit]
epochs = 4
batch_size = 4
optimizer = "adamw"
max_learning_rate = 1e-2
ema_decay = 0.5
deterministic = true
"""


def write_photos(root: Path, per_class: int = 24) -> Path:
    """``root/{train,test}/{blue,red}`` with ``per_class`` photos each."""
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        for label, channel in (("red", 0), ("blue", 2)):
            folder = root / part / label
            folder.mkdir(parents=True)
            for number in range(per_class):
                pixels = random.integers(0, 100, (40, 48, 3), dtype=np.uint8)
                pixels[:, :, channel] += 120
                Image.fromarray(pixels).save(folder / f"{number}.jpg")
    return root


def write_recipe(path: Path, floor: float = 0.0) -> Path:
    path.write_text(RECIPE.format(floor=floor))
    return path
