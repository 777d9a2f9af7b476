"""What an image looks like in a few numbers, to tell whether traffic has changed.

The one implementation, for the trainer's reference and the server alike. Imports torch, and
computes with numpy, whose calls cost less on so little.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
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
    pixels = image.numpy()
    rows = pixels[:, :: max(1, pixels.shape[1] // _ROWS)].astype(np.float32)
    brightness, flat = float(rows.mean()), rows.ravel()
    contrast = sqrt(max(0.0, float(flat @ flat) / flat.size - brightness**2))
    difference = float(np.abs(rows[:, :, 1:] - rows[:, :, :-1]).mean())
    return ImageStatistics(
        brightness=brightness,
        contrast=contrast,
        saturation=float((rows.max(axis=0) - rows.min(axis=0)).mean()),
        detail=min(LARGEST_DETAIL, difference / contrast) if contrast > 0 else 0.0,
    )
