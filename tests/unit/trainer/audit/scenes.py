"""Pictures that look like nothing, and yet like photos to a perceptual hash."""

import numpy as np
from PIL import Image


def scene(seed: int, side: int = 64) -> Image.Image:
    """Smooth colours, as photos have and noise has not."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
