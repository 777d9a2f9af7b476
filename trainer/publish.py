"""From a scored run to a version in a model repository.

The run passes its gates against the version in service, is written with its golden
samples, figures and model card, and is then opened again in a fresh process before
it gets a version number.
"""

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch

from models import torchscript
from models.errors import RepositoryError
from models.golden import GoldenSamples, save_golden
from models.manifest import (
    GOLDEN_NAME,
    MODEL_NAME,
    NOVELTY_NAME,
    TWIN_NAME,
    FileEntry,
    Golden,
    Int8,
    Manifest,
)
from models.novelty import save_centroids
from models.repository import ModelRepository
from models.signature import sign
from trainer.beside import file_beside
from trainer.contender import Contender, artifact_as_contender, photos_of
from trainer.errors import PublishError
from trainer.evaluate import Evaluation
from trainer.export import assemble
from trainer.gates import Gate, gates
from trainer.int8 import int8_of
from trainer.model_card import CARD_NAME, model_card
from trainer.run import Run, environment
from trainer.score import ScoredRun, load_network
from trainer.trust import TRUST_NAME, Trust, trust_of
from trainer.twin import export_twin

_IN_SERVICE = "stable"  # the label of the version that is; the latest where nobody set it
_GOLDEN_SAMPLES = 8
_GOLDEN_MARGIN = 0.2  # between the two best scores, so that rounding cannot swap them
_TOLERANCE_FP32 = 1e-3
_TOLERANCE_BF16 = 0.05


@dataclass(frozen=True)
class Published:
    """A version and how it came by its number.

    Attributes:
        version: The number.
        gates: What it was asked.
    """

    version: int
    gates: list[Gate]


def publish(
    scored: ScoredRun,
    repository: ModelRepository,
    *,
    force: str | None = None,
    twin: bool = True,
    int8: bool = True,
    others: Path | None = None,
    private_key: Path | None = None,
) -> Published:
    """Publish a scored run as the next version of its recipe's model.

    Args:
        scored: The run and its answers.
        repository: Where to.
        force: Why it is to be published although a gate fails; recorded in the manifest.
        twin: Whether to add the torch.export twin.
        int8: Whether to offer the twin in int8, if it answers as well.
        others: A folder with photos that are of none of the classes, to choose the novelty score.
        private_key: PEM; given: the artifact is signed with it.

    Raises:
        DataError: The folder has no photo that can be read.
        PublishError: A gate refuses it, or it fails in a fresh process.
        RepositoryError: The repository cannot be written.
    """
    results = gates(scored, in_service(scored, repository))
    failed = [gate for gate in results if not gate.passed]
    if failed and (force is None or not all(gate.forcible for gate in failed)):
        raise PublishError("\n".join(["a gate failed", *map(str, results)]))
    golden = _golden(scored)
    evaluation = scored.evaluation()
    forced = force if failed else None
    trust = trust_of(
        scored.module,
        scored.calibration,
        scored.validation,
        scored.test,
        scored.recipe.input,
        others,
    )

    def build(folder: Path) -> _ManifestSeal:
        try:
            _write_files(folder, scored, golden, evaluation, trust, twin=twin)
            offered = _int8(folder, scored, golden) if twin and int8 else None
        except OSError as error:
            raise RepositoryError(f"{folder} cannot be written: {error}") from error
        return _ManifestSeal(scored, evaluation, trust, len(golden.inputs), offered, forced, folder)

    signer = partial(sign, private_key=private_key) if private_key else None
    version = repository.publish(scored.recipe.model, build, verify_in_fresh_process, signer)
    return Published(version, results)


def in_service(scored: ScoredRun, repository: ModelRepository) -> Contender | None:
    """The version in service of the run's model, on the run's test photos."""
    model = scored.recipe.model
    versions = repository.versions(model)
    if not versions:
        return None
    version = repository.labels(model).get(_IN_SERVICE, versions[-1])
    return artifact_as_contender(repository.read(model, version), photos_of(scored))


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


def write_modules(folder: Path, run: Run, *, twin: bool) -> None:
    """Write a run's scripted module and, if wanted, its torch.export twin.

    Raises:
        RunError: The run has no checkpoint.
        OSError: The folder cannot be written.
    """
    task = load_network(run)
    model = assemble(task.normalize, task.network)
    modules = {MODEL_NAME: torchscript.save(torchscript.script(model))}
    if twin:
        modules[TWIN_NAME] = export_twin(model, task.recipe.input)
    for name, content in modules.items():
        with file_beside(folder / name) as file:
            file.write(content)


def _write_files(
    folder: Path,
    scored: ScoredRun,
    golden: GoldenSamples,
    evaluation: Evaluation,
    trust: Trust,
    *,
    twin: bool,
) -> None:
    write_modules(folder, scored.run, twin=twin)
    (folder / GOLDEN_NAME).write_bytes(save_golden(golden))
    (folder / NOVELTY_NAME).write_bytes(save_centroids(trust.centroids))
    for name, text in (
        ("metrics.json", evaluation.model_dump_json(indent=2)),
        ("recipe.json", scored.recipe.model_dump_json(indent=2)),
        (TRUST_NAME, trust.figures.model_dump_json(indent=2)),
        (CARD_NAME, model_card(scored.recipe, scored.data, evaluation, trust.figures)),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    report = scored.run.folder / "report.html"
    if report.is_file():
        shutil.copyfile(report, folder / report.name)


def _int8(folder: Path, scored: ScoredRun, golden: GoldenSamples) -> Int8 | None:
    twin = (folder / TWIN_NAME).read_bytes()
    return int8_of(twin, scored.validation, scored.test, golden, scored.temperature)


@dataclass(frozen=True)
class _ManifestSeal:
    """Makes the manifest of the files in ``folder`` once the version is known."""

    scored: ScoredRun
    evaluation: Evaluation
    trust: Trust
    golden_samples: int
    int8: Int8 | None
    forced: str | None
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
            class_recalls=tuple(figures.recall for figures in self.evaluation.classes),
            reference=self.trust.reference,
            forced=self.forced,
            calibration=scored.calibration,
            novelty=self.trust.novelty,
            golden=Golden(
                samples=self.golden_samples,
                score_tolerance_fp32=_TOLERANCE_FP32,
                score_tolerance_bf16=_TOLERANCE_BF16,
            ),
            int8=self.int8,
            data_fingerprint=scored.data.fingerprint,
            recipe=recipe.model_dump(mode="json"),
            libraries=environment(),
            files=file_entries(self.folder),
        )


def _golden(scored: ScoredRun) -> GoldenSamples:
    """Samples with a clear margin, evenly spread over the test photos."""
    best = scored.test.scores(scored.temperature).topk(2).values
    clear = torch.nonzero(best[:, 0] - best[:, 1] > _GOLDEN_MARGIN).flatten()
    if len(clear) == 0:
        raise PublishError("no test photo is classified with a clear margin")
    count = min(_GOLDEN_SAMPLES, len(clear))
    chosen = clear[torch.linspace(0, len(clear) - 1, count).round().long()]
    return GoldenSamples(scored.test.images.inputs[chosen], scored.test.logits[chosen])


def file_entries(folder: Path) -> dict[str, FileEntry]:
    """Digest and size of every file of a staged artifact."""
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return {
        name: FileEntry(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        for name, content in contents.items()
    }
