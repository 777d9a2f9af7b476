"""What each decoder costs, by format and size: ``python -m benchmarks.decoders``.

A photo is stored in each format and read to the model's input again and again, by turns:
torchvision's decoder of the format, Pillow's, and ``models.preprocess``, which is to choose the
cheaper of those that are safe (docs/decisions/0003-decoding.md). Processor time of one thread;
medians and quartiles over rounds.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, decode_png, decode_webp

from benchmarks.photos import LARGE, SMALL, write_photos
from models.image_header import ImageLimits
from models.manifest import InputSpec
from models.preprocess import preprocess, resize

_DECODERS = {"JPEG": decode_jpeg, "PNG": decode_png, "WEBP": decode_webp}
_QUALITY = 90

Reader = Callable[[bytes, InputSpec], Tensor]


def main() -> None:
    """Measure and print a table."""
    arguments = _arguments()
    torch.set_num_threads(1)
    side = arguments.side
    spec = InputSpec(height=side, width=side, mean=(0.5,) * 3, std=(0.5,) * 3)
    print("| photo | format | torchvision | Pillow | models.preprocess |\n|---|---|---|---|---|")
    for size in (SMALL, LARGE):
        for name in _DECODERS:
            data = _stored(size, name)
            readers = (_with_torchvision(name), _with_pillow, _with_ours)
            times = _by_turns(data, spec, readers, arguments.rounds)
            cells = " | ".join(_cell(one) for one in times)
            print(f"| {size[0]} x {size[1]}, {len(data) / 1e3:.0f} KB | {name} | {cells} |")


def _stored(size: tuple[int, int], name: str) -> bytes:
    """A real photo, enlarged to this size, in this format."""
    with tempfile.TemporaryDirectory() as folder:
        (path,) = write_photos(Path(folder), size, 1)
        if name == "JPEG":
            return path.read_bytes()
        out = io.BytesIO()
        with Image.open(path) as image:
            image.save(out, name, quality=_QUALITY)
    return out.getvalue()


def _with_torchvision(name: str) -> Reader:
    def read(data: bytes, spec: InputSpec) -> Tensor:
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return resize(_DECODERS[name](encoded, mode=ImageReadMode.RGB), spec)

    return read


def _with_pillow(data: bytes, spec: InputSpec) -> Tensor:
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.array(image.convert("RGB"))
    return resize(torch.from_numpy(pixels).permute(2, 0, 1), spec)


def _with_ours(data: bytes, spec: InputSpec) -> Tensor:
    return preprocess(data, spec, ImageLimits())


def _by_turns(
    data: bytes, spec: InputSpec, readers: tuple[Reader, ...], rounds: int
) -> Iterator[list[float]]:
    """Milliseconds of each reader, a figure for each round."""
    times: list[list[float]] = [[] for _ in readers]
    for number in range(rounds + 1):
        for reader, kept in zip(readers, times, strict=True):
            began = time.thread_time()
            reader(data, spec)
            if number:  # the first one warms up
                kept.append(1000 * (time.thread_time() - began))
    return iter(times)


def _cell(times: list[float]) -> str:
    low, median, high = statistics.quantiles(times, n=4)
    return f"{median:.1f} ms ({low:.1f} to {high:.1f})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=224, help="of the model's input, pixels")
    parser.add_argument("--rounds", type=int, default=15)
    return parser.parse_args()


if __name__ == "__main__":
    main()
