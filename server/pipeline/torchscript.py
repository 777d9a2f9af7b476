"""The TorchScript engine: cast, laid out and frozen at load, warmed, proven on golden samples."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from models import torchscript
from models.artifact import Artifact
from models.errors import GoldenMismatchError
from models.golden import check_golden
from models.manifest import Manifest
from server.errors import EngineError
from server.pipeline.engine import Activation, Scores, Work
from server.pipeline.explain import explain

log = logging.getLogger(__name__)

Precision = Literal["auto", "fp32", "bf16", "fp16"]


class TorchScriptEngine:
    """An artifact's module on a device, ready to run.

    Args:
        artifact: A verified artifact.
        device: Where it runs.
        precision: Of the body. "auto" takes bf16 where the device computes in it
            natively and the golden samples hold, fp32 otherwise.

    Attributes:
        device: Where it runs.
        input: What it takes.
        dtype: Of the body.

    Raises:
        ArtifactError: The module does not load or does not reproduce its golden samples.
    """

    def __init__(self, artifact: Artifact, device: torch.device, precision: Precision) -> None:
        self.device = self._device = device
        self.input = artifact.manifest.input
        self._temperature = artifact.manifest.calibration.temperature
        self._novelty = artifact.novelty_score(device)
        self._module, self.dtype = self._load(artifact, precision)

    def warm_up(self, sizes: Sequence[int], runs: int) -> dict[int, float]:
        """Run batches of each size.

        Call it from each thread that will run batches: threads keep state of their own.

        Args:
            sizes: Of batches.
            runs: Of each. TorchScript optimises on the second call of a shape, so that the third
                is the first fast one.

        Returns:
            Seconds of the last run, by batch size.
        """
        return time_batches(
            lambda images: self.scores(self._forward(self._module, images)[1]),
            (self.input.height, self.input.width),
            sizes,
            runs,
        )

    def run(self, batch: Sequence[Work]) -> list[Scores | Exception]:
        """Scores for each image; an item whose scores are not finite fails alone."""
        features, logits = self._forward(self._module, stacked(batch))
        return self.answers(features, logits, batch)

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The forward pass alone.

        Args:
            images: uint8 [b, 3, h, w] on the CPU.

        Returns:
            The last feature map, [b, c, h', w'], and logits, [b, classes], on the device.
        """
        return self._forward(self._module, images)

    def scores(self, logits: Tensor) -> Tensor:
        """Calibrated scores, float32 [b, classes] on the CPU."""
        with torch.inference_mode():
            return torch.softmax(logits.float() / self._temperature, dim=1).cpu()

    def answers(
        self, features: Tensor, logits: Tensor, batch: Sequence[Work]
    ) -> list[Scores | Exception]:
        """What a forward pass says of each image, whichever engine ran it.

        Args:
            features: The last feature map, [b, c, h', w'].
            logits: [b, classes].
            batch: What is wanted.
        """
        scores = self.scores(logits)
        maps = explain(self._module, features, scores, batch)
        values, indices = torch.topk(scores, _wanted(scores, batch))
        told = self._novelty_of(features, logits)
        rows = zip(batch, values.tolist(), indices.tolist(), maps, told, strict=True)
        return [_scores_of(*row) for row in rows]

    def _novelty_of(self, features: Tensor, logits: Tensor) -> list[float] | list[None]:
        if self._novelty is None:
            return [None] * len(logits)
        with torch.inference_mode():
            novelty: list[float] = self._novelty(features, logits).tolist()
        return novelty

    def _load(
        self, artifact: Artifact, precision: Precision
    ) -> tuple[torch.jit.ScriptModule, torch.dtype]:
        if precision == "bf16" or (precision == "auto" and computes_bf16(self._device)):
            try:
                return self._prepare(artifact, torch.bfloat16), torch.bfloat16
            except GoldenMismatchError as error:
                if precision == "bf16":
                    raise
                log.warning("falling back to fp32: in bf16, %s", error)
        if precision == "fp16":
            return self._prepare(artifact, torch.float16), torch.float16
        return self._prepare(artifact, torch.float32), torch.float32

    def _prepare(self, artifact: Artifact, dtype: torch.dtype) -> torch.jit.ScriptModule:
        module = artifact.module().eval().to(self._device)
        module.body.to(dtype=dtype, memory_format=torch.channels_last)
        frozen = torchscript.freeze_both(module)
        check_golden(
            artifact.golden(),
            lambda images: self.scores(self._forward(frozen, images)[1]),
            self._temperature,
            score_tolerance(artifact.manifest, dtype),
        )
        return frozen

    def _forward(self, module: torch.jit.ScriptModule, images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            features, logits = module.features_and_logits(self._on_device(images))
            return features, logits

    def _on_device(self, images: Tensor) -> Tensor:
        if self._device.type == "cpu":
            # Plane by plane: normalising pixel by pixel takes five times as long, and the first
            # convolution lays them out as its weights are.
            return images
        return images.to(self._device, memory_format=torch.channels_last)


def stacked(batch: Sequence[Work]) -> Tensor:
    """The batch's images, uint8 [b, 3, h, w]."""
    return torch.stack([work.image for work in batch])


def time_batches(
    run: Callable[[Tensor], object], shape: tuple[int, int], sizes: Sequence[int], runs: int
) -> dict[int, float]:
    """Run black batches of each size; seconds of the last run, by size.

    Args:
        run: Computes uint8 [b, 3, h, w] to the end.
        shape: Height and width, pixels.
        sizes: Of batches.
        runs: Of each.
    """
    seconds: dict[int, float] = {}
    for size in sizes:
        images = torch.zeros((size, 3, *shape), dtype=torch.uint8)
        for _ in range(runs):
            started = time.perf_counter()
            run(images)
            seconds[size] = time.perf_counter() - started
    return seconds


def score_tolerance(manifest: Manifest, dtype: torch.dtype) -> float:
    """How far scores may be from the golden ones when the body runs in ``dtype``."""
    golden = manifest.golden
    # fp16 has three bits more than bf16: what is good enough for that is for it.
    whole = dtype == torch.float32
    return golden.score_tolerance_fp32 if whole else golden.score_tolerance_bf16


def _wanted(scores: Tensor, batch: Sequence[Work]) -> int:
    """How many of the best labels the batch needs."""
    top_k = max(work.top_k for work in batch)
    least = torch.tensor([[work.least_score] for work in batch])
    return min(max(top_k, int((scores >= least).sum(dim=1).max())), scores.shape[1])


def _scores_of(
    work: Work,
    values: list[float],
    indices: list[int],
    drawn: Activation | None,
    novelty: float | None,
) -> Scores | Exception:
    # NaN sorts first, so the best score tells.
    if values[0] != values[0]:
        return EngineError("the model gave no finite score for this image")
    members = [
        (index, value)
        for index, value in zip(indices, values, strict=True)
        if value >= work.least_score
    ]
    top_k = work.top_k
    return Scores(tuple(indices[:top_k]), tuple(values[:top_k]), drawn, tuple(members), novelty)


def computes_int8() -> bool:
    """Whether the CPU sums products of int8 into int32: without, sums of two would saturate."""
    capabilities = torch.cpu.get_capabilities()
    names = ("avx512_vnni", "avx_vnni", "amx_int8")
    return any(capabilities.get(name) for name in names)


def computes_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 in its instructions."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
