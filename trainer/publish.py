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
from torch import Tensor

from models import torchscript
from models.golden import GoldenSamples, save_golden
from models.manifest import (
    GOLDEN_NAME,
    MODEL_NAME,
    Calibration,
    FileEntry,
    Golden,
    Label,
    Manifest,
    Metrics,
)
from models.repository import ModelRepository
from trainer.data import EvaluationImages, catalogue, read_evaluation
from trainer.errors import PublishError
from trainer.evaluate import fit_temperature, measure
from trainer.export import export, logits_of
from trainer.model_card import CARD_NAME, model_card
from trainer.recipe import Recipe
from trainer.run import DataRecord, Run, environment
from trainer.task import ClassificationTask

_GOLDEN_SAMPLES = 8
_GOLDEN_MARGIN = 0.2  # between the two best scores, so that rounding cannot swap them
_TOLERANCE_FP32 = 1e-3
_TOLERANCE_BF16 = 0.05


@dataclass(frozen=True)
class Candidate:
    """A scored module on its way to a version.

    Attributes:
        module: Scripted, fp32, on the CPU.
        recipe: As it was run.
        data: What it was trained on.
        temperature: Fitted on the validation photos.
        metrics: On the test photos.
        golden: Samples from the test photos.
    """

    module: torch.jit.ScriptModule
    recipe: Recipe
    data: DataRecord
    temperature: float
    metrics: Metrics
    golden: GoldenSamples


def load_module(run: Run) -> torch.jit.ScriptModule:
    """Export a run's best checkpoint.

    Raises:
        RunError: The run has no checkpoint.
    """
    task = ClassificationTask(run.recipe(), len(run.data().classes))
    checkpoint = torch.load(run.best_checkpoint, map_location="cpu", weights_only=True)
    task.load_state_dict(checkpoint["state_dict"])
    return export(task.normalize, task.network)


def candidate(run: Run, data: Path) -> Candidate:
    """Calibrate a run on its validation photos and score it on its test photos.

    Raises:
        DataError: The photos cannot be read.
        RunError: The run is not finished, or the data is not what it was trained on.
        PublishError: A test photo stood among the training photos.
    """
    recipe, record = run.recipe(), run.data()
    module = load_module(run)
    photos = catalogue(data, recipe.data, recipe.fit.seed)
    validation = read_evaluation(photos.validation, recipe.input)
    test = read_evaluation(photos.test, recipe.input)
    _refuse_leaks(record, [*validation.digests, *test.digests])
    temperature = fit_temperature(logits_of(module, validation.inputs), validation.labels)
    logits = logits_of(module, test.inputs)
    return Candidate(
        module=module,
        recipe=recipe,
        data=record,
        temperature=temperature,
        metrics=measure(logits, test.labels, temperature),
        golden=_golden(test, logits, temperature),
    )


def publish(scored: Candidate, repository: ModelRepository) -> int:
    """Publish a candidate as the next version of its recipe's model.

    Raises:
        PublishError: It is below the recipe's floor, or fails in a fresh process.
        RepositoryError: The repository cannot be written.
    """
    recipe = scored.recipe
    if scored.metrics.accuracy < recipe.minimum_accuracy:
        raise PublishError(
            f"accuracy {scored.metrics.accuracy:.4f} on {scored.metrics.images} test photos is"
            f" below the recipe's minimum_accuracy {recipe.minimum_accuracy}"
        )

    def build(folder: Path) -> ManifestSeal:
        (folder / MODEL_NAME).write_bytes(torchscript.save(scored.module))
        (folder / GOLDEN_NAME).write_bytes(save_golden(scored.golden))
        (folder / CARD_NAME).write_text(
            model_card(recipe, scored.data, scored.metrics), encoding="utf-8"
        )
        return ManifestSeal(scored, folder)

    return repository.publish(recipe.model, build, verify_in_fresh_process)


@dataclass(frozen=True)
class ManifestSeal:
    """Makes the manifest of the files in ``folder`` once the version is known."""

    scored: Candidate
    folder: Path

    def __call__(self, version: int) -> Manifest:
        """The manifest of version ``version``."""
        scored, recipe = self.scored, self.scored.recipe
        return Manifest(
            name=recipe.model,
            version=version,
            created=datetime.now(UTC),
            labels=_labels(recipe, scored.data.classes),
            input=recipe.input,
            network=recipe.network.name,
            parameters=sum(parameter.numel() for parameter in scored.module.parameters()),
            metrics=scored.metrics,
            calibration=Calibration(temperature=scored.temperature),
            golden=Golden(
                samples=len(scored.golden.inputs),
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


def _labels(recipe: Recipe, classes: tuple[str, ...]) -> tuple[Label, ...]:
    labels = []
    for folder in classes:
        spec = recipe.labels.get(folder)
        if spec is None:
            labels.append(Label(id=folder, display_name=folder.replace("_", " ").title()))
        else:
            labels.append(Label(id=spec.id, display_name=spec.display_name))
    return tuple(labels)


def _golden(test: EvaluationImages, logits: Tensor, temperature: float) -> GoldenSamples:
    """Samples with a clear margin, evenly spread over the test photos."""
    best = torch.softmax(logits / temperature, dim=1).topk(2).values
    clear = torch.nonzero(best[:, 0] - best[:, 1] > _GOLDEN_MARGIN).flatten()
    if len(clear) == 0:
        raise PublishError("no test photo is classified with a clear margin")
    count = min(_GOLDEN_SAMPLES, len(clear))
    chosen = clear[torch.linspace(0, len(clear) - 1, count).round().long()]
    return GoldenSamples(test.inputs[chosen], logits[chosen])


def _refuse_leaks(record: DataRecord, held_out: list[str]) -> None:
    shared = set(record.train_digests) & set(held_out)
    if shared:
        raise PublishError(f"{len(shared)} held-out photos stood among the training photos")


def _entry(path: Path) -> FileEntry:
    content = path.read_bytes()
    return FileEntry(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
