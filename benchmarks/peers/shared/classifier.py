"""The model as a user of these servers would load and call it; every peer imports this.

Imports torch and torchvision alone. Settings come from the environment, so that workers that a
server starts have them too: MODEL (the TorchScript file), SIDE (of the input, pixels), MAX_BATCH,
MAX_DELAY_MS, WORKERS.
"""

import os
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

MODEL = Path(os.environ["MODEL"])
SIDE = int(os.environ["SIDE"])
MAX_BATCH = int(os.environ["MAX_BATCH"])
MAX_DELAY_S = float(os.environ["MAX_DELAY_MS"]) / 1000
WORKERS = int(os.environ["WORKERS"])
TOP_K = 5

# As in our own server: bf16 where the CPU computes in it.
_CAPABILITIES = torch.cpu.get_capabilities()
BF16 = bool(_CAPABILITIES.get("amx_bf16") or _CAPABILITIES.get("avx512_bf16"))


class Classifier:
    """The module, cast, laid out, frozen; each calling thread computes alone and is warm first."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(MODEL, map_location="cpu").eval()
            dtype = torch.bfloat16 if BF16 else torch.float32
            module.body.to(dtype=dtype, memory_format=torch.channels_last)
            self._module = torch.jit.freeze(module)
        self._threads = threading.local()
        self._warm_up()

    def classify(self, images: Sequence[Tensor]) -> list[list[tuple[int, float]]]:
        """Return labels with scores, best first, for each image uint8 [3, SIDE, SIDE]."""
        if not hasattr(self._threads, "warm"):
            self._warm_up()
        batch = torch.stack(list(images)).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            scores = torch.softmax(self._module(batch).float(), dim=1)
            best = scores.topk(TOP_K)
        rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [list(zip(*row, strict=True)) for row in rows]

    def _warm_up(self) -> None:
        """Run each size three times: TorchScript is fast from the third, in each thread."""
        torch.set_num_threads(1)  # it is the calling thread's, too
        self._threads.warm = True
        for size in range(1, MAX_BATCH + 1):
            for _ in range(3):
                self.classify([torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)] * size)


def decode(photo: bytes) -> Tensor:
    """Turn a JPEG into the central square, uint8 [3, SIDE, SIDE]: the rule of the artifact."""
    torch.set_num_threads(1)
    data = torch.frombuffer(bytearray(photo), dtype=torch.uint8)
    image = decode_jpeg(data, mode=ImageReadMode.RGB)
    _, height, width = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[:, top : top + side, left : left + side].unsqueeze(0)
    small = torch.nn.functional.interpolate(
        square, size=(SIDE, SIDE), mode="bilinear", antialias=True
    )
    return small.squeeze(0)
