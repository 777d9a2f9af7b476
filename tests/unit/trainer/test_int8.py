"""int8 is offered where it answers as well, and only there."""

import dataclasses
import logging
from pathlib import Path

import pytest
import torch

from models.exported import open_twin
from models.golden import GoldenSamples
from models.int8 import quantised
from models.manifest import Manifest
from models.repository import ModelRepository
from trainer.evaluate import measure
from trainer.export import assemble
from trainer.int8 import RefusedError, int8_of, measured
from trainer.logits import logits_of
from trainer.publish import publish
from trainer.recalibrate import recalibrate
from trainer.score import Predictions, ScoredRun, load_network
from trainer.twin import export_twin


def twin_of(scored: ScoredRun) -> bytes:
    task = load_network(scored.run)
    return export_twin(assemble(task.normalize, task.network), scored.recipe.input)


def golden_of(scored: ScoredRun) -> GoldenSamples:
    return GoldenSamples(scored.test.images.inputs[:4], scored.test.logits[:4])


def test_what_is_measured_is_what_is_said(scored: ScoredRun) -> None:
    golden = golden_of(scored)
    found = measured(twin_of(scored), scored.validation, scored.test, golden, scored.temperature)
    assert found.images == len(scored.test.logits)
    assert found.accuracy_fp32 == pytest.approx(scored.metrics.accuracy)
    module = quantised(open_twin(twin_of(scored)), found.ranges)
    logits = logits_of(module, scored.test.images.inputs)
    own = measure(logits, scored.test.images.labels, scored.temperature)
    assert (found.accuracy, found.log_loss) == pytest.approx((own.accuracy, own.log_loss))
    assert not torch.equal(logits, scored.test.logits)


def test_what_is_worse_is_not_offered(scored: ScoredRun, caplog: pytest.LogCaptureFixture) -> None:
    twin, golden = twin_of(scored), golden_of(scored)
    # As if the published weights had been right where int8 is not.
    right = torch.nn.functional.one_hot(1 - scored.test.logits.argmax(1), 2).float()
    labels = dataclasses.replace(scored.test.images, labels=right.argmax(1))
    better = Predictions(labels, 8.0 * right)
    with pytest.raises(RefusedError, match="accuracy"):
        measured(twin, scored.validation, better, golden, scored.temperature)
    surer = Predictions(scored.test.images, 1000.0 * scored.test.logits)
    with pytest.raises(RefusedError, match="log loss"):
        measured(twin, scored.validation, surer, golden, scored.temperature)
    other = GoldenSamples(golden.inputs, -golden.logits)
    with caplog.at_level(logging.WARNING):
        found = int8_of(twin, scored.validation, scored.test, other, scored.temperature)
    assert found is None
    assert "int8 is not offered: golden samples" in caplog.text


def published(scored: ScoredRun, root: Path, **how: bool) -> Manifest:
    repository = ModelRepository(root)
    version = publish(scored, repository, force="a trial", **how).version
    return repository.read(scored.recipe.model, version).manifest


def test_versions_offer_it_unless_told_otherwise(scored: ScoredRun, tmp_path: Path) -> None:
    tmp_path.mkdir(exist_ok=True)
    offered = published(scored, tmp_path)
    assert offered.int8 is not None
    assert published(scored, tmp_path, int8=False).int8 is None
    assert published(scored, tmp_path, twin=False).int8 is None
    repository, data = ModelRepository(tmp_path), Path(scored.data.root)
    again = recalibrate(repository, offered.name, 2, data, tmp_path / "cache")
    manifest = repository.read(offered.name, again).manifest
    assert manifest.int8 is not None
    assert manifest.int8.ranges.keys() == offered.int8.ranges.keys()
