"""From a finished run to a version in a model repository.

The module is exported, scored on the test photos, written with its golden
samples and model card, and then opened again in a fresh process before it gets
a version number.
"""

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from models import torchscript
from models.golden import GoldenSamples, save_golden
from models.manifest import (
    GOLDEN_NAME,
    MODEL_NAME,
    Calibration,
    FileEntry,
    Golden,
    Manifest,
)
from models.repository import ModelRepository
from trainer.errors import PublishError
from trainer.model_card import CARD_NAME, model_card
from trainer.run import environment
from trainer.score import ScoredRun

_GOLDEN_SAMPLES = 8
_GOLDEN_MARGIN = 0.2  # between the two best scores, so that rounding cannot swap them
_TOLERANCE_FP32 = 1e-3
_TOLERANCE_BF16 = 0.05


def publish(scored: ScoredRun, repository: ModelRepository) -> int:
    """Publish a scored run as the next version of its recipe's model.

    Raises:
        PublishError: It is below the recipe's floor, or fails in a fresh process.
        RepositoryError: The repository cannot be written.
    """
    recipe = scored.recipe
    _refuse_leaks(scored)
    golden = _golden(scored)
    if scored.metrics.accuracy < recipe.minimum_accuracy:
        raise PublishError(
            f"accuracy {scored.metrics.accuracy:.4f} on {scored.metrics.images} test photos is"
            f" below the recipe's minimum_accuracy {recipe.minimum_accuracy}"
        )

    def build(folder: Path) -> ManifestSeal:
        (folder / MODEL_NAME).write_bytes(torchscript.save(scored.module))
        (folder / GOLDEN_NAME).write_bytes(save_golden(golden))
        (folder / CARD_NAME).write_text(
            model_card(recipe, scored.data, scored.metrics), encoding="utf-8"
        )
        return ManifestSeal(scored, len(golden.inputs), folder)

    return repository.publish(recipe.model, build, verify_in_fresh_process)


@dataclass(frozen=True)
class ManifestSeal:
    """Makes the manifest of the files in ``folder`` once the version is known."""

    scored: ScoredRun
    golden_samples: int
    folder: Path

    def __call__(self, version: int) -> Manifest:
        """The manifest of version ``version``."""
        scored, recipe = self.scored, self.scored.recipe
        return Manifest(
            name=recipe.model,
            version=version,
            created=datetime.now(UTC),
            labels=scored.labels,
            input=recipe.input,
            network=recipe.network.name,
            parameters=sum(parameter.numel() for parameter in scored.module.parameters()),
            metrics=scored.metrics,
            calibration=Calibration(temperature=scored.temperature),
            golden=Golden(
                samples=self.golden_samples,
                score_tolerance_fp32=_TOLERANCE_FP32,
                score_tolerance_bf16=_TOLERANCE_BF16,
            ),
            data_fingerprint=scored.data.fingerprint,
            recipe=recipe.model_dump(mode="json"),
            libraries=environment(),
            files={path.name: _entry(path) for path in sorted(self.folder.iterdir())},
        )


def verify_in_fresh_process(folder: Path) -> None:
    """Open a staged artifact in a new interpreter and run its golden samples.

    Raises:
        PublishError: It does not load or does not reproduce them.
    """
    command = [sys.executable, "-m", "trainer.verify", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode != 0:
        reason = result.stderr.strip().splitlines()[-1:] or ["no message"]
        raise PublishError(f"the artifact fails in a fresh process: {reason[0]}")


def _golden(scored: ScoredRun) -> GoldenSamples:
    """Samples with a clear margin, evenly spread over the test photos."""
    best = scored.test.scores(scored.temperature).topk(2).values
    clear = torch.nonzero(best[:, 0] - best[:, 1] > _GOLDEN_MARGIN).flatten()
    if len(clear) == 0:
        raise PublishError("no test photo is classified with a clear margin")
    count = min(_GOLDEN_SAMPLES, len(clear))
    chosen = clear[torch.linspace(0, len(clear) - 1, count).round().long()]
    return GoldenSamples(scored.test.images.inputs[chosen], scored.test.logits[chosen])


def _refuse_leaks(scored: ScoredRun) -> None:
    held_out = {*scored.validation.images.digests, *scored.test.images.digests}
    shared = held_out & set(scored.data.train_digests)
    if shared:
        raise PublishError(f"{len(shared)} held-out photos stood among the training photos")


def _entry(path: Path) -> FileEntry:
    content = path.read_bytes()
    return FileEntry(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
