"""The compiled engine: an artifact's twin as native libraries, beside its TorchScript engine."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.artifact import Artifact
from models.errors import GoldenMismatchError
from models.golden import check_golden
from server.pipeline.compiler import library_name
from server.pipeline.engine import Scores, Work
from server.pipeline.lowering import ANY_SIZE
from server.pipeline.native import NativeModule
from server.pipeline.torchscript import TorchScriptEngine, score_tolerance, stacked

_FEATURE_TOLERANCE = 0.05  # of their norm: bf16 has three digits, and networks are deep


class CompiledEngine:
    """An artifact's twin, compiled for this machine's CPU and proven on its golden samples.

    The libraries compute features and logits; what these say of an image, and the maps, come
    from the TorchScript engine.

    Args:
        artifact: A verified artifact.
        libraries: What the twin was compiled to, by file name; their digests were checked.
        lanes: Batches that run at the same time.
        scripted: The same artifact's, of the same dtype.

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
    ) -> None:
        self._scripted = scripted
        self._modules = {name: NativeModule(path, lanes) for name, path in libraries.items()}
        self._prove(artifact)

    def run(self, batch: Sequence[Work]) -> list[Scores | Exception]:
        """Scores for each image; an item whose scores are not finite fails alone."""
        features, logits = self._forward(stacked(batch))
        return self._scripted.answers(features, logits, batch)

    def _prove(self, artifact: Artifact) -> None:
        """Each library on the golden samples, and its features against the scripted module's."""
        samples = artifact.golden()
        tolerance = score_tolerance(artifact.manifest, self._scripted.dtype)
        several = library_name(ANY_SIZE) in self._modules
        for size in (1, len(samples.inputs)) if several else (1,):
            parts = [self._forward(part) for part in samples.inputs.split(size)]
            features, logits = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
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
        if not off <= _FEATURE_TOLERANCE:  # also true of NaN
            raise GoldenMismatchError(f"the compiled model's features are off by {float(off):.2g}")

    def _forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        module = self._modules.get(library_name(len(images)))
        if module is None:
            module = self._modules[library_name(ANY_SIZE)]
        with torch.inference_mode():
            return module(images)
