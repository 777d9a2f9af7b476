"""Photos of a given size, made from the bundled ones: enough for anyone to repeat a benchmark.

A bundled photo is enlarged and gets the grain of a camera, so that its file is as large and takes
as long to decode as one of that size: about 50 KB at 500 x 375, 3 MB at 4000 x 3000.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks.processes import ROOT

BUNDLED = ROOT / "examples" / "photos"
SMALL, LARGE = (500, 375), (4000, 3000)  # pixels: width and height
_QUALITY = 85
_GRAIN = 6.0  # standard deviation, of 255


def write_photos(folder: Path, size: tuple[int, int], count: int) -> Sequence[Path]:
    """Write ``count`` JPEG files of ``size`` (width, height) below ``folder``; return them."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = sorted(BUNDLED.glob("*.jpg"))
    paths = []
    for number in range(count):
        path = folder / f"{number:03}.jpg"
        path.write_bytes(_photo(sources[number % len(sources)], size, number))
        paths.append(path)
    return paths


def _photo(source: Path, size: tuple[int, int], seed: int) -> bytes:
    with Image.open(source) as image:
        large = ImageOps.fit(image.convert("RGB"), size, Image.Resampling.BICUBIC)
    chance = np.random.default_rng(seed)
    grain = chance.normal(0.0, _GRAIN, (size[1], size[0], 1)).astype(np.float32)
    pixels = np.clip(np.asarray(large, dtype=np.float32) + grain, 0, 255).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
