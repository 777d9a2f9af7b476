"""The compiled engine: an artifact's twin as native libraries, beside its TorchScript engine."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.artifact import Artifact
from models.errors import GoldenMismatchError
from models.golden import check_golden
from models.manifest import Int8
from server.pipeline.engine import Scores, Work
from server.pipeline.native import NativeModule
from server.pipeline.torchscript import TorchScriptEngine, score_tolerance, stacked

_FEATURE_TOLERANCE = 0.05  # of their norm: bf16 has three digits, and networks are deep
_FEATURE_TOLERANCE_INT8 = 0.1  # 256 levels from the least value to the largest


class CompiledEngine:
    """An artifact's twin, compiled for this machine's CPU and proven on its golden samples.

    The libraries compute features and logits; what these say of an image, and the maps, come
    from the TorchScript engine.

    Args:
        artifact: A verified artifact.
        libraries: What the twin was compiled to, by file name; their digests were checked. One
            is for single images.
        lanes: Batches that run at the same time.
        scripted: The same artifact's, of the same dtype.
        int8: What the artifact says of int8, if the libraries compute in it.

    Raises:
        EngineError: A library cannot be used.
        GoldenMismatchError: It does not reproduce the golden samples.
    """

    def __init__(
        self,
        artifact: Artifact,
        libraries: Mapping[str, Path],
        lanes: int,
        scripted: TorchScriptEngine,
        int8: Int8 | None = None,
    ) -> None:
        self._scripted = scripted
        self._int8 = int8
        modules = {int(path.stem): NativeModule(path, lanes) for path in libraries.values()}
        self._modules = dict(sorted(modules.items(), reverse=True))
        self._prove(artifact)

    def run(self, batch: Sequence[Work]) -> list[Scores | Exception]:
        """Scores for each image; an item whose scores are not finite fails alone."""
        features, logits = self._forward(stacked(batch))
        return self._scripted.answers(features, logits, batch)

    def _prove(self, artifact: Artifact) -> None:
        """Each library on the golden samples, and its features against the scripted module's."""
        samples = artifact.golden()
        tolerance = score_tolerance(artifact.manifest, self._scripted.dtype)
        if self._int8 is not None:
            tolerance = self._int8.score_tolerance
        count = len(samples.inputs)
        for size, module in self._modules.items():
            whole = samples.inputs.repeat(-(-size // count) if size > count else 1, 1, 1, 1)
            padded = torch.cat([whole, whole[: -len(whole) % size]])
            parts = [module(part) for part in padded.split(size)]
            features, logits = (torch.cat(tensors)[:count] for tensors in zip(*parts, strict=True))
            check_golden(
                samples,
                lambda _images, logits=logits: self._scripted.scores(logits),  # type: ignore[misc]
                artifact.manifest.calibration.temperature,
                tolerance,
            )
            self._compare(features, self._scripted.features_and_logits(samples.inputs)[0])

    def _compare(self, features: Tensor, expected: Tensor) -> None:
        if features.shape != expected.shape:
            raise GoldenMismatchError("the compiled model's features have another shape")
        off = (features.float() - expected.float()).norm() / expected.float().norm()
        if not off <= (
            _FEATURE_TOLERANCE_INT8 if self._int8 else _FEATURE_TOLERANCE
        ):  # also true of NaN
            raise GoldenMismatchError(f"the compiled model's features are off by {float(off):.2g}")

    def _forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """In parts for which there are libraries, the largest first."""
        parts, left = [], images
        with torch.inference_mode():
            for size, module in self._modules.items():
                while len(left) >= size:
                    parts.append(module(left[:size]))
                    left = left[size:]
            features, logits = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
            return features.to(self._scripted.dtype), logits
