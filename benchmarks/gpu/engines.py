"""The same network as each engine could run it, on images that lie on the device already.

All give logits for uint8 [b, 3, h, w]; they run by turns, and the median of the rounds counts.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from server.pipeline.cuda import CudaEngine
from server.pipeline.engine import Work
from trainer.export import assemble
from trainer.networks import Network
from trainer.normalize import Normalize

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_WARM_UPS = 5
_IMAGES_A_TURN = 1024  # small batches run several times

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Rate:
    """Images a second of one engine at one batch size: median, least and most of the rounds."""

    median: float
    least: float
    most: float


def eager(network: Network, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The module of an artifact as torch runs it operation by operation, channels last."""
    module = assemble(Normalize(MEAN, STD), network).to(device)
    module.body.to(dtype=dtype, memory_format=torch.channels_last)
    return module


def compiled(module: nn.Module, images: Tensor, package: Path) -> Forward:
    """What AOTInductor makes of ``module`` for batches like ``images``.

    Source: https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html
    """
    with torch.no_grad():
        program = torch.export.export(module, (images,))
        path = torch._inductor.aoti_compile_and_package(program, package_path=str(package))
    run: Forward = torch._inductor.aoti_load_package(path)
    return run


def rates(contenders: Mapping[str, Forward], images: Tensor, rounds: int) -> dict[str, Rate | str]:
    """Images a second of each, by turns; of one that fails, why.

    Args:
        contenders: By name.
        images: uint8 [b, 3, h, w], on the device.
        rounds: How many turns each has.
    """
    failed: dict[str, Rate | str] = {}
    for name, forward in contenders.items():
        try:
            for _ in range(_WARM_UPS):
                _turn(forward, images, 1)
        except (RuntimeError, ValueError) as error:
            failed[name] = str(error).strip().partition("\n")[0][:200]
    repeats = max(1, _IMAGES_A_TURN // len(images))
    living = {name: forward for name, forward in contenders.items() if name not in failed}
    turns = [
        {name: _turn(forward, images, repeats) for name, forward in living.items()}
        for _ in range(rounds)
    ]
    found = {name: _rate([turn[name] for turn in turns]) for name in living}
    return {**found, **failed}


def staged(engine: CudaEngine, image: Tensor, size: int, lanes: int, seconds: float) -> float:
    """Images a second of the engine alone as the server calls it: from the host, on its lanes.

    Args:
        engine: Loaded.
        image: uint8 [3, h, w], on the CPU.
        size: Of the batches.
        lanes: Threads that call it.
        seconds: For how long.
    """
    batch = [Work(image, top_k=5)] * size
    engine.run(batch)
    ends = time.perf_counter() + seconds

    def lane(_number: int) -> int:
        done = 0
        while time.perf_counter() < ends:
            engine.run(batch)
            done += size
        return done

    began = time.perf_counter()
    with ThreadPoolExecutor(lanes) as pool:
        done = sum(pool.map(lane, range(lanes)))
    return done / (time.perf_counter() - began)


def _turn(forward: Forward, images: Tensor, repeats: int) -> float:
    """Images a second."""
    with torch.inference_mode():
        began = time.perf_counter()
        for _ in range(repeats):
            forward(images)
        if images.is_cuda:
            torch.cuda.synchronize()
        return repeats * len(images) / (time.perf_counter() - began)


def _rate(found: Sequence[float]) -> Rate:
    return Rate(statistics.median(found), min(found), max(found))
