"""The TorchScript engine: cast, laid out and frozen at load, warmed, proven on golden samples."""

import logging
import time
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from models import torchscript
from models.artifact import Artifact
from models.errors import GoldenMismatchError
from models.golden import check_golden
from server.errors import EngineError
from server.pipeline.engine import Scores, Work

log = logging.getLogger(__name__)

Precision = Literal["auto", "fp32", "bf16"]

# TorchScript optimises on the second call of each shape, so the third is the first fast one.
_WARM_UP_RUNS = 3


class TorchScriptEngine:
    """An artifact's module on a device, ready to run.

    Args:
        artifact: A verified artifact.
        device: Where it runs.
        precision: Of the body. "auto" takes bf16 where the device computes in it
            natively and the golden samples hold, fp32 otherwise.

    Raises:
        ArtifactError: The module does not load or does not reproduce its golden samples.
    """

    def __init__(self, artifact: Artifact, device: torch.device, precision: Precision) -> None:
        self._device = device
        self._input = artifact.manifest.input
        self._temperature = artifact.manifest.calibration.temperature
        self._module, self.dtype = self._load(artifact, precision)

    def warm_up(self, max_batch_size: int) -> dict[int, float]:
        """Run every batch size until it is fast.

        Call it from each thread that will run batches: threads keep state of their own.

        Returns:
            Seconds of the last run, by batch size.
        """
        seconds: dict[int, float] = {}
        for size in range(1, max_batch_size + 1):
            images = torch.zeros(
                (size, 3, self._input.height, self._input.width), dtype=torch.uint8
            )
            for _ in range(_WARM_UP_RUNS):
                started = time.perf_counter()
                self._scores(self._module, images)
                seconds[size] = time.perf_counter() - started
        return seconds

    def run(self, batch: Sequence[Work]) -> list[Scores | Exception]:
        """Scores for each image; an item whose scores are not finite fails alone."""
        images = torch.stack([work.image for work in batch])
        scores = self._scores(self._module, images)
        top_k = min(max(work.top_k for work in batch), scores.shape[1])
        values, indices = torch.topk(scores, top_k)
        rows = zip(batch, values.tolist(), indices.tolist(), strict=True)
        return [_scores_of(work.top_k, row, index) for work, row, index in rows]

    def _load(
        self, artifact: Artifact, precision: Precision
    ) -> tuple[torch.jit.ScriptModule, torch.dtype]:
        if precision == "bf16" or (precision == "auto" and _computes_bf16(self._device)):
            try:
                return self._prepare(artifact, torch.bfloat16), torch.bfloat16
            except GoldenMismatchError as error:
                if precision == "bf16":
                    raise
                log.warning("falling back to fp32: in bf16, %s", error)
        return self._prepare(artifact, torch.float32), torch.float32

    def _prepare(self, artifact: Artifact, dtype: torch.dtype) -> torch.jit.ScriptModule:
        module = artifact.module().eval().to(self._device)
        module.body.to(dtype=dtype, memory_format=torch.channels_last)
        frozen = torchscript.freeze(module)
        tolerances = artifact.manifest.golden
        check_golden(
            artifact.golden(),
            lambda images: self._scores(frozen, images),
            self._temperature,
            tolerances.score_tolerance_bf16
            if dtype == torch.bfloat16
            else tolerances.score_tolerance_fp32,
        )
        return frozen

    def _scores(self, module: torch.jit.ScriptModule, images: Tensor) -> Tensor:
        """uint8 [b, 3, h, w] on the CPU to calibrated scores, float32 [b, classes] on the CPU."""
        with torch.inference_mode():
            pixels = images.to(self._device, memory_format=torch.channels_last)
            logits: Tensor = module(pixels)
            return torch.softmax(logits.float() / self._temperature, dim=1).cpu()


def _scores_of(top_k: int, values: list[float], indices: list[int]) -> Scores | Exception:
    # NaN sorts first, so the best score tells.
    if values[0] != values[0]:
        return EngineError("the model gave no finite score for this image")
    return Scores(tuple(indices[:top_k]), tuple(values[:top_k]))


def _computes_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
