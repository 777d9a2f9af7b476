"""Each gate refuses what it is there for, and nothing else does."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from models.manifest import Calibration, Label
from models.repository import ModelRepository
from trainer.contender import Contender, run_as_contender
from trainer.errors import PublishError
from trainer.gates import gates
from trainer.publish import publish
from trainer.score import Predictions, ScoredRun

SHARP = 8.0  # a logit that is sure
NAMES = {
    "finite": "weights and logits are finite",
    "leaks": "no held-out photo was trained on",
    "floor": "accuracy reaches the recipe's floor",
    "labels": "labels are those in service",
    "accuracy": "accuracy is not worse than that in service",
    "recall": "no class's recall falls by more than 5 points",
    "calibration": "calibration error grows by at most 0.02",
}


def answering(scored: ScoredRun, wrong: Sequence[int], sure: float = SHARP) -> torch.Tensor:
    """Logits that are right on every test photo but ``wrong``."""
    labels = scored.test.images.labels.clone()
    labels[list(wrong)] = 1 - labels[list(wrong)]
    return torch.nn.functional.one_hot(labels, 2).float() * sure


def run_with(scored: ScoredRun, logits: torch.Tensor, **changes: object) -> ScoredRun:
    test = Predictions(scored.test.images, logits)
    changed = dataclasses.replace(scored, test=test, calibration=Calibration())
    metrics = changed.metrics.model_copy(
        update={"accuracy": float((logits.argmax(1) == test.images.labels).float().mean())}
    )
    return dataclasses.replace(changed, metrics=metrics, **changes)  # type: ignore[arg-type]


def champion_of(scored: ScoredRun, logits: torch.Tensor) -> Contender:
    return dataclasses.replace(run_as_contender(scored), logits=logits, temperature=1.0)


def failed(challenger: ScoredRun, champion: Contender | None) -> set[str]:
    return {
        key
        for key, name in NAMES.items()
        if any(gate.name == name and not gate.passed for gate in gates(challenger, champion))
    }


def test_an_equal_passes(scored: ScoredRun) -> None:
    logits = answering(scored, wrong=[0, 30])
    assert failed(run_with(scored, logits), champion_of(scored, logits)) == set()
    assert failed(run_with(scored, logits), None) == set()


def test_a_loss_of_more_than_half_a_point_is_refused(scored: ScoredRun) -> None:
    champion = champion_of(scored, answering(scored, wrong=[]))
    assert failed(run_with(scored, answering(scored, wrong=[40])), champion) >= {"accuracy"}


def test_a_class_that_gets_worse_is_refused_where_it_has_photos(scored: ScoredRun) -> None:
    # The first 24 test photos are of one class: fewer than 30, so its recall says little.
    champion = champion_of(scored, answering(scored, wrong=range(24, 30)))
    challenger = run_with(scored, answering(scored, wrong=range(6)))
    assert failed(challenger, champion) == set()
    twice = dataclasses.replace(
        scored.test.images,
        inputs=scored.test.images.inputs.repeat(2, 1, 1, 1),
        labels=scored.test.images.labels.repeat(2),
        paths=scored.test.images.paths * 2,
        digests=scored.test.images.digests * 2,
    )
    larger = dataclasses.replace(scored, test=Predictions(twice, scored.test.logits.repeat(2, 1)))
    champion = champion_of(larger, answering(larger, wrong=range(24, 30)))
    assert failed(run_with(larger, answering(larger, wrong=range(6))), champion) == {"recall"}


def test_scores_that_mean_less_are_refused(scored: ScoredRun) -> None:
    champion = champion_of(scored, answering(scored, wrong=[]))
    vague = run_with(scored, answering(scored, wrong=[], sure=0.5))
    assert failed(vague, champion) == {"calibration"}


def test_other_labels_are_refused(scored: ScoredRun) -> None:
    logits = answering(scored, wrong=[])
    others = tuple(Label(id=name, display_name=name) for name in ("red", "blue"))
    champion = dataclasses.replace(champion_of(scored, logits), labels=others)
    assert failed(run_with(scored, logits), champion) == {"labels"}


def test_nan_leaks_and_the_floor_are_refused_for_a_first_version(scored: ScoredRun) -> None:
    logits = answering(scored, wrong=[0])
    bad = logits.clone()
    bad[3, 0] = torch.nan
    assert failed(run_with(scored, bad), None) == {"finite"}
    leak = scored.data.model_copy(update={"train_digests": (scored.test.images.digests[0],)})
    assert failed(run_with(scored, logits, data=leak), None) == {"leaks"}
    strict = scored.recipe.model_copy(update={"minimum_accuracy": 0.99})
    assert failed(run_with(scored, logits, recipe=strict), None) == {"floor"}


def test_force_overrules_and_is_recorded_but_not_for_nan(scored: ScoredRun, tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path)
    strict = scored.recipe.model_copy(update={"minimum_accuracy": 0.99})
    poor = run_with(scored, answering(scored, wrong=[0, 1]), recipe=strict)
    # The golden samples must come from the module itself.
    poor = dataclasses.replace(poor, test=scored.test, calibration=scored.calibration)
    with pytest.raises(PublishError, match="FAIL  accuracy reaches the recipe's floor"):
        publish(poor, repository)
    assert repository.models() == []
    assert publish(poor, repository, force="a trial", twin=False).version == 1
    manifest = repository.read(poor.recipe.model, 1).manifest
    assert manifest.forced == "a trial"
    assert manifest.reference is not None
    assert sum(manifest.reference.best_score.shares) == pytest.approx(1.0)
    nan = run_with(scored, torch.full_like(scored.test.logits, torch.nan))
    with pytest.raises(PublishError, match="FAIL  weights and logits are finite"):
        publish(nan, repository, force="never")
    assert repository.versions(poor.recipe.model) == [1]
