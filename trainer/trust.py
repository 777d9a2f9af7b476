"""How far a model's answers can be trusted: what ``trust.json`` and the report say of it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from models.class_activation import FeaturesAndHead
from models.manifest import Calibration, InputSpec, Novelty, Reference
from trainer.confidence import ConfidenceFigures, check_confidence
from trainer.corruptions import CorruptionFigures, robustness
from trainer.novelty import (
    NoveltyChoice,
    NoveltyFigures,
    Seen,
    check_novelty,
    choose_novelty,
    look,
    read_others,
)
from trainer.reference import reference_of
from trainer.score import Predictions

TRUST_NAME = "trust.json"


class TrustFigures(BaseModel):
    """Figures on the test photos, which chose nothing.

    Attributes:
        confidence: Of abstaining and of prediction sets.
        novelty: Of telling photos of other things; None where there were none.
        corruptions: Of photos that were made worse.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    confidence: ConfidenceFigures
    novelty: NoveltyFigures | None
    corruptions: tuple[CorruptionFigures, ...]


@dataclass(frozen=True)
class Trust:
    """What an artifact carries beside its module.

    Attributes:
        novelty: For the manifest.
        reference: For the manifest.
        centroids: For ``novelty.npz``, float32 [classes, c].
        figures: For ``trust.json``.
    """

    novelty: Novelty
    reference: Reference
    centroids: Tensor
    figures: TrustFigures


def trust_of(
    module: FeaturesAndHead,
    calibration: Calibration,
    validation: Predictions,
    test: Predictions,
    spec: InputSpec,
    others: Path | None = None,
) -> Trust:
    """Choose on validation photos, check on test photos.

    Args:
        module: Scripted: fp32, eval mode, on the CPU.
        calibration: Of its scores.
        validation: Its answers on validation photos.
        test: Its answers on test photos.
        spec: Its input.
        others: A folder with photos that are of none of its classes.

    Raises:
        DataError: The folder has no photo that can be read.
    """
    temperature = calibration.temperature
    trial = try_novelty(module, temperature, validation, test, spec, others)
    choice = trial.choice
    figures = TrustFigures(
        confidence=check_confidence(calibration, test.logits, test.images.labels),
        novelty=trial.figures,
        corruptions=robustness(module, test.images.inputs, test.images.labels, temperature),
    )
    image_bytes = torch.tensor([path.stat().st_size for path in validation.images.paths])
    reference = reference_of(
        validation.images.inputs, validation.scores(temperature), choice.validation, image_bytes
    )
    return Trust(choice.novelty, reference, choice.centroids, figures)


@dataclass(frozen=True)
class NoveltyTrial:
    """A novelty score and what it says of photos that did not choose it.

    Attributes:
        choice: The score.
        ordinary: Of the test photos, float32 [n].
        strange: Of photos of other things, float32 [m]; None where there were none.
        figures: How well it tells them apart; None likewise.
    """

    choice: NoveltyChoice
    ordinary: Tensor
    strange: Tensor | None
    figures: NoveltyFigures | None


def try_novelty(
    module: FeaturesAndHead,
    temperature: float,
    validation: Predictions,
    test: Predictions,
    spec: InputSpec,
    others: Path | None,
) -> NoveltyTrial:
    """Choose a novelty score on validation photos, try it on test photos.

    Args:
        module: Scripted: fp32, eval mode, on the CPU.
        temperature: Of its scores.
        validation: Its answers on validation photos.
        test: Its answers on test photos.
        spec: Its input.
        others: A folder with photos that are of none of its classes.

    Raises:
        DataError: The folder has no photo that can be read.
    """
    seen = look(module, test.images.inputs)
    strange = look(module, read_others(others, spec)) if others else None
    # Every second photo of other things chooses the score, the rest say what it detects.
    choosing, judging = _halves(strange) if strange else (None, None)
    labels = validation.images.labels
    choice = choose_novelty(look(module, validation.images.inputs), labels, temperature, choosing)
    return NoveltyTrial(
        choice=choice,
        ordinary=choice.scores(seen, temperature),
        strange=choice.scores(judging, temperature) if judging else None,
        figures=check_novelty(choice, seen, judging, temperature) if judging else None,
    )


def _halves(seen: Seen) -> tuple[Seen, Seen]:
    return (
        Seen(seen.means[0::2], seen.logits[0::2]),
        Seen(seen.means[1::2], seen.logits[1::2]),
    )
