"""Engines at smaller inputs: which are allowed, what they say, which are worth it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.artifact import Artifact
from models.golden import GoldenSamples
from models.repository import ModelRepository
from server.pipeline.brownout import Shrunk, ShrunkEngine, admits, shrink, worthwhile
from server.pipeline.compile_cache import CompileCache
from server.pipeline.cores import Allotment
from server.pipeline.cost import CostModel
from server.pipeline.engine import Scores, Work
from server.pipeline.lane_engine import LaneEngine
from server.pipeline.torchscript import TorchScriptEngine
from server.pipeline.tuning import TuningStore
from server.pipeline.views import averaged
from tests.artifacts import TINY_LABELS, TINY_NAME, TINY_SIDE, coloured, publish_tiny_artifact

SIDE = TINY_SIDE // 2


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    publish_tiny_artifact(tmp_path)
    return ModelRepository(tmp_path).read(TINY_NAME, 1)


@pytest.fixture
def shrunk(artifact: Artifact) -> ShrunkEngine:
    return ShrunkEngine(TorchScriptEngine(artifact, torch.device("cpu"), "fp32"), SIDE)


def test_answers_say_that_the_image_was_shrunk_and_are_of_the_shrunk_image(
    shrunk: ShrunkEngine,
) -> None:
    works = [Work(coloured(label), top_k=2) for label in TINY_LABELS]
    for answer, label in zip(shrunk.run(works), TINY_LABELS, strict=True):
        assert isinstance(answer, Scores)
        assert TINY_LABELS[answer.indices[0]] == label
        assert answer.shrunk_to == SIDE
        assert averaged(works[0], [answer, answer]).shrunk_to == SIDE
    features, _ = shrunk.features_and_logits(torch.stack([work.image for work in works]))
    assert features.shape[2:] == (SIDE, SIDE)
    assert shrunk.warm_up([1, 3], 1).keys() == {1, 3}


def test_shrinking_averages_and_keeps_what_is_plain() -> None:
    checkered = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 200
    images = torch.stack([checkered.expand(3, 16, 16), torch.full((3, 16, 16), 77)])
    small = shrink(images.to(torch.uint8), 4)
    assert small.shape == (2, 3, 4, 4)
    assert small.dtype == torch.uint8
    assert (small[0].float() - 100).abs().max() <= 25  # aliasing would give 0 or 200
    assert bool((small[1] == 77).all())


class Answering:
    """Says what the test says."""

    def __init__(self, scores: Tensor | RuntimeError) -> None:
        self._scores = scores

    def scores(self, _images: Tensor) -> Tensor:
        if isinstance(self._scores, RuntimeError):
            raise self._scores
        return self._scores


def test_a_size_is_allowed_where_the_golden_samples_mostly_keep_their_label(
    artifact: Artifact, shrunk: ShrunkEngine
) -> None:
    assert admits(shrunk, artifact.golden(), SIDE)
    logits = torch.eye(4).repeat(2, 1)
    samples = GoldenSamples(torch.zeros((8, 3, 4, 4), dtype=torch.uint8), logits)
    mostly, hardly = logits.clone(), logits.clone()
    mostly[:2] = mostly[:2].flip(1)
    hardly[:3] = hardly[:3].flip(1)
    assert admits(Answering(mostly), samples, 2)
    assert not admits(Answering(hardly), samples, 2)
    assert not admits(Answering(logits * torch.nan), samples, 2)
    assert not admits(Answering(logits[:, :2]), samples, 2)
    assert not admits(Answering(RuntimeError("mat1 and mat2 shapes")), samples, 2)


def test_only_what_is_much_faster_than_the_next_larger_is_used(shrunk: ShrunkEngine) -> None:
    def at(side: int, seconds: float) -> Shrunk:
        return Shrunk(side, shrunk, CostModel({1: seconds / 4, 4: seconds}))

    whole = CostModel({1: 0.25, 4: 1.0})
    found = worthwhile(whole, [at(12, 0.9), at(8, 0.5), at(7, 0.45), at(4, 0.2)], 4)
    assert [one.side for one in found] == [8, 4]
    assert worthwhile(whole, [at(8, 1.5)], 4) == []


async def test_a_loaded_engine_has_the_sides_below_its_own_each_with_its_times(
    artifact: Artifact, tmp_path: Path
) -> None:
    engine = await LaneEngine.load(
        artifact,
        torch.device("cpu"),
        "fp32",
        2,
        Allotment(1, 1, 1),
        TuningStore(CompileCache(tmp_path / "cache")),
        sides=(8, TINY_SIDE, 12, 64, 8),
    )
    try:
        assert [one.side for one in engine.smaller] == [12, 8]
        assert all(one.cost.known for one in engine.smaller)
        assert len(list((tmp_path / "cache").iterdir())) == 3
        [answer] = await engine.run_shrunk(engine.smaller[1], [Work(coloured("blue"), top_k=1)])
        assert isinstance(answer, Scores)
        assert (answer.shrunk_to, TINY_LABELS[answer.indices[0]]) == (8, "blue")
    finally:
        engine.close()
