"""The model as a user of these servers would load and call it; every peer imports this.

Imports torch and torchvision alone. Settings come from the environment, so that workers that a
server starts have them too: MODELS (JSON: TorchScript file, exported program, side of the input in
pixels), COMPILED (not empty: inductor compiles the program, and TorchScript is not used),
MAX_BATCH, MAX_DELAY_MS, WORKERS.
"""

import json
import os
import threading
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch import _inductor as inductor
from torchvision.io import ImageReadMode, decode_jpeg

MODELS = json.loads(os.environ["MODELS"])
NAMES = ("classifier", "second")[: len(MODELS)]
COMPILED = bool(os.environ.get("COMPILED"))
MAX_BATCH = int(os.environ["MAX_BATCH"])
MAX_DELAY_S = float(os.environ["MAX_DELAY_MS"]) / 1000
WORKERS = int(os.environ["WORKERS"])
TOP_K = 5

# As in our own server: bf16 where the CPU computes in it.
_CAPABILITIES = torch.cpu.get_capabilities()
BF16 = bool(_CAPABILITIES.get("amx_bf16") or _CAPABILITIES.get("avx512_bf16"))


class Classifier:
    """The module, cast, laid out, frozen; each calling thread computes alone and is warm first."""

    def __init__(self, model: int = 0) -> None:
        torch.set_num_threads(1)
        self.side = MODELS[model]["side"]
        self._forward = _compiled(MODELS[model]) if COMPILED else _scripted(MODELS[model])
        self._threads = threading.local()
        self._warm_up()

    def classify(self, images: Sequence[Tensor]) -> list[list[tuple[int, float]]]:
        """Return labels with scores, best first, for each image uint8 [3, side, side]."""
        if not hasattr(self._threads, "warm"):
            self._warm_up()
        batch = torch.stack(list(images)).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            scores = torch.softmax(self._forward(batch).float(), dim=1)
            best = scores.topk(min(TOP_K, scores.shape[1]))
        rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [list(zip(*row, strict=True)) for row in rows]

    def _warm_up(self) -> None:
        """Run each size three times: TorchScript is fast from the third, in each thread."""
        torch.set_num_threads(1)  # it is the calling thread's, too
        self._threads.warm = True
        for size in range(1, MAX_BATCH + 1):
            for _ in range(3):
                self.classify([torch.zeros(3, self.side, self.side, dtype=torch.uint8)] * size)


def _scripted(files: dict) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(files["file"], map_location="cpu").eval()
        dtype = torch.bfloat16 if BF16 else torch.float32
        module.body.to(dtype=dtype, memory_format=torch.channels_last)
        return torch.jit.freeze(module)


def _compiled(files: dict) -> Callable[[Tensor], Tensor]:
    """The program, which is cast already, with its weights frozen into inductor's code.

    A graph for each size: inductor does best on sizes it knows.
    """
    inductor.config.freezing = True
    torch._dynamo.config.recompile_limit = 2 * MAX_BATCH
    return torch.compile(
        torch.export.load(files["program"]).module(check_guards=False), dynamic=False
    )


def decode(photo: bytes, side: int = MODELS[0]["side"]) -> Tensor:
    """Turn a JPEG into the central square, uint8 [3, side, side]: the rule of the artifact."""
    torch.set_num_threads(1)
    data = torch.frombuffer(bytearray(photo), dtype=torch.uint8)
    image = decode_jpeg(data, mode=ImageReadMode.RGB)
    _, height, width = image.shape
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = image[:, top : top + short, left : left + short].unsqueeze(0)
    small = torch.nn.functional.interpolate(
        square, size=(side, side), mode="bilinear", antialias=True
    )
    return small.squeeze(0)
