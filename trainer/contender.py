"""A model among others: its answers on photos that all of them are shown."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.artifact import Artifact
from models.manifest import InputSpec, Label
from trainer.data import Photo, read_evaluation
from trainer.errors import DataError
from trainer.logits import logits_of
from trainer.score import ScoredRun

_ROUNDS = 15
_LATENCY_BATCH = 4


@dataclass(frozen=True)
class Contender:
    """A model and its answers.

    Attributes:
        name: For people.
        labels: In the order of the logits.
        module: Scripted, fp32, on the CPU.
        temperature: From logits to scores.
        input: What the module takes.
        logits: float32 [n, classes] on the photos.
        recipe: As it was trained.
        train_digests: SHA-256 of the photos it was trained on; None where they are not known.
    """

    name: str
    labels: tuple[Label, ...]
    module: torch.jit.ScriptModule
    temperature: float
    input: InputSpec
    logits: Tensor
    recipe: dict[str, object]
    train_digests: frozenset[str] | None = None

    @property
    def label_ids(self) -> list[str]:
        """The labels' ids in the order of the logits."""
        return [label.id for label in self.labels]

    @property
    def parameters(self) -> int:
        """How many trainable parameters it has."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def right(self, labels: Tensor) -> Tensor:
        """Whether each answer is right, bool [n]; ``labels`` are int64 [n]."""
        return self.logits.argmax(dim=1) == labels


def run_as_contender(scored: ScoredRun, photos: Sequence[Photo] = ()) -> Contender:
    """A run, on its own test photos or on those that are given."""
    logits = scored.test.logits
    if photos:
        logits = _logits(scored.module, photos, scored.recipe.input)
    return Contender(
        name=str(scored.run.folder),
        labels=scored.labels,
        module=scored.module,
        temperature=scored.temperature,
        input=scored.recipe.input,
        logits=logits,
        recipe=scored.recipe.model_dump(mode="json"),
        train_digests=frozenset(scored.data.train_digests),
    )


def artifact_as_contender(artifact: Artifact, photos: Sequence[Photo]) -> Contender:
    """A published version, which reads the photos with its own input's size."""
    manifest, module = artifact.manifest, artifact.module()
    return Contender(
        name=f"{manifest.name} version {manifest.version}",
        labels=manifest.labels,
        module=module,
        temperature=manifest.calibration.temperature,
        input=manifest.input,
        logits=_logits(module, photos, manifest.input),
        recipe=manifest.recipe,
    )


def photos_of(scored: ScoredRun) -> list[Photo]:
    """The test photos of a run that could be read."""
    images = scored.test.images
    return [
        Photo(Path(path), int(label))
        for path, label in zip(images.paths, images.labels, strict=True)
    ]


def latency_ratio(challenger: Contender, champion: Contender) -> float:
    """How much longer the challenger takes for a few photos; measured in turns, fp32."""
    times: dict[str, list[float]] = {"challenger": [], "champion": []}
    sides = {"challenger": challenger, "champion": champion}
    for _ in range(_ROUNDS):
        for side, contender in sides.items():
            times[side].append(_seconds(contender))
    # The first rounds compile.
    medians = {side: statistics.median(values[3:]) for side, values in times.items()}
    return medians["challenger"] / medians["champion"]


def _seconds(contender: Contender) -> float:
    shape = (_LATENCY_BATCH, 3, contender.input.height, contender.input.width)
    photos = torch.zeros(shape, dtype=torch.uint8)
    start = time.perf_counter()
    with torch.inference_mode():
        contender.module(photos)
    return time.perf_counter() - start


def _logits(module: torch.jit.ScriptModule, photos: Sequence[Photo], spec: InputSpec) -> Tensor:
    images = read_evaluation(photos, spec)
    if images.unreadable:
        raise DataError(f"{images.unreadable[0].path} cannot be read any more")
    return logits_of(module, images.inputs)
