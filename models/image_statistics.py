"""What an image looks like in a few numbers, to tell whether traffic has changed.

The one implementation, for the trainer's reference and the server alike. Imports torch, and
computes with numpy, whose calls cost less on so little.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_ROWS = 32  # enough for means, and cheap

BRIGHTEST = 255.0
LARGEST_DETAIL = 2.0
LARGEST_CONTRAST = 128.0


@dataclass(frozen=True)
class ImageStatistics:
    """Of the model's input; see ``models.manifest.Reference`` for the units."""

    brightness: float
    contrast: float
    saturation: float
    detail: float


def image_statistics(image: Tensor) -> ImageStatistics:
    """Measure every few rows of an image.

    Args:
        image: uint8 [3, h, w].
    """
    # On so little numpy's calls are what costs, and those of mean, max and min the most.
    pixels = image.numpy()
    rows = pixels[:, :: max(1, pixels.shape[1] // _ROWS)].astype(np.float32)
    flat = rows.ravel()
    brightness = _mean(rows)
    contrast = sqrt(max(0.0, float(flat @ flat) / flat.size - brightness**2))
    steps = rows[:, :, 1:] - rows[:, :, :-1]
    np.abs(steps, out=steps)
    red, green, blue = rows
    largest = np.maximum(np.maximum(red, green), blue)
    largest -= np.minimum(np.minimum(red, green), blue)
    return ImageStatistics(
        brightness=brightness,
        contrast=contrast,
        saturation=_mean(largest),
        detail=min(LARGEST_DETAIL, _mean(steps) / contrast) if contrast > 0 else 0.0,
    )


def _mean(values: NDArray[np.float32]) -> float:
    return float(np.add.reduce(values.ravel())) / max(1, values.size)
