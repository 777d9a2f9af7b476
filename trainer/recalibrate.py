"""Publish a version again with what this release knows to say of its answers.

The module, its twin and its golden samples stay as they are; calibration, novelty, reference
distributions, int8 and figures are made anew from the photos of its recipe.
"""

import hashlib
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from models.artifact import Artifact
from models.manifest import MANIFEST_NAME, NOVELTY_NAME, Int8, Manifest
from models.novelty import save_centroids
from models.repository import ModelRepository, Seal
from trainer.confidence import calibrate
from trainer.data import (
    EvaluationImages,
    fingerprint,
    read_evaluation,
    resolve_data,
    split_of,
)
from trainer.errors import PublishError
from trainer.evaluate import Evaluation, evaluate, measure
from trainer.int8 import int8_of
from trainer.logits import logits_of
from trainer.model_card import CARD_NAME, with_trust
from trainer.publish import file_entries, verify_in_fresh_process
from trainer.recipe import Recipe, parse_recipe
from trainer.score import Predictions
from trainer.trust import TRUST_NAME, Trust, trust_of


def recalibrate(
    repository: ModelRepository,
    model: str,
    version: int,
    data: Path,
    cache: Path,
    others: Path | None = None,
) -> int:
    """Publish ``version`` as the next one, with new calibration and figures.

    Args:
        repository: Where it lies, and where the next version goes.
        model: Its name.
        version: Its number.
        data: The photos it was trained on.
        cache: Where archives are unpacked and decoded photos kept.
        others: A folder with photos that are of none of its classes.

    Returns:
        The new version's number.

    Raises:
        DataError: The photos cannot be read.
        PublishError: They are not those it was trained on.
        ModelsError: It does not load, or the repository cannot be written.
    """
    artifact = repository.read(model, version)
    recipe = parse_recipe(artifact.manifest.recipe, f"{model} version {version}")
    validation, test = held_out(artifact, recipe, data, cache)
    calibration = calibrate(validation.logits, validation.images.labels, recipe.abstain_risk)
    trust = trust_of(artifact.module().eval(), calibration, validation, test, recipe.input, others)
    names = [label.display_name for label in artifact.manifest.labels]
    evaluation = evaluate(test.logits, test.images.labels, names, calibration.temperature)
    changes = {
        "created": datetime.now(UTC),
        "calibration": calibration,
        "novelty": trust.novelty,
        "reference": trust.reference,
        "int8": _int8(artifact, validation, test, calibration.temperature),
        "metrics": measure(test.logits, test.images.labels, calibration.temperature),
    }
    source = repository.root / model / str(version)

    def build(folder: Path) -> Seal:
        _write(source, folder, trust, evaluation)
        return lambda number: _sealed(artifact.manifest, changes, number, folder)

    return repository.publish(model, build, verify_in_fresh_process)


def held_out(
    artifact: Artifact, recipe: Recipe, data: Path, cache: Path
) -> tuple[Predictions, Predictions]:
    """A published version's answers on the validation and the test photos of its recipe.

    Args:
        artifact: The version.
        recipe: Of its manifest.
        data: The photos it was trained on.
        cache: Where archives are unpacked and decoded photos kept.

    Raises:
        DataError: The photos cannot be read.
        PublishError: They are not those it was trained on.
    """
    root = resolve_data(data, recipe.data, cache)
    photos = split_of(recipe, root)
    test = read_evaluation(photos.test, recipe.input, cache)
    validation = read_evaluation(photos.validation, recipe.input, cache)
    digests = [hashlib.sha256(photo.path.read_bytes()).hexdigest() for photo in photos.train]
    held_out = {*test.digests, *validation.digests}
    trained_on = [digest for digest in digests if digest not in held_out]
    if fingerprint(trained_on) != artifact.manifest.data_fingerprint:
        raise PublishError(
            f"{data} does not hold the photos that {artifact.manifest.name} was trained on:"
            " photos to calibrate it with might be among those"
        )
    return _predicted(artifact, validation), _predicted(artifact, test)


def _int8(
    artifact: Artifact, validation: Predictions, test: Predictions, temperature: float
) -> Int8 | None:
    if artifact.twin is None:
        return None
    return int8_of(artifact.twin, validation, test, artifact.golden(), temperature)


def _predicted(artifact: Artifact, images: EvaluationImages) -> Predictions:
    return Predictions(images, logits_of(artifact.module().eval(), images.inputs))


def _write(source: Path, folder: Path, trust: Trust, evaluation: Evaluation) -> None:
    for path in source.iterdir():
        if path.name != MANIFEST_NAME:
            shutil.copyfile(path, folder / path.name)
    (folder / NOVELTY_NAME).write_bytes(save_centroids(trust.centroids))
    (folder / "metrics.json").write_text(evaluation.model_dump_json(indent=2), encoding="utf-8")
    (folder / TRUST_NAME).write_text(trust.figures.model_dump_json(indent=2), encoding="utf-8")
    card = folder / CARD_NAME
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    card.write_text(with_trust(text, evaluation, trust.figures), encoding="utf-8")


def _sealed(old: Manifest, changes: Mapping[str, object], version: int, folder: Path) -> Manifest:
    fields = {name: getattr(old, name) for name in type(old).model_fields}
    return Manifest.model_validate(
        {**fields, **changes, "version": version, "files": file_entries(folder)}
    )
