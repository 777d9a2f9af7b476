"""CUDA graphs against plain TorchScript, on a GPU."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.artifact import Artifact
from models.class_activation import CamMethod
from models.errors import GoldenMismatchError
from models.repository import ModelRepository
from server.pipeline import cuda
from server.pipeline.cuda import CudaEngine, first_engine, prove
from server.pipeline.engine import Explain, Scores, Work
from server.pipeline.torchscript import TorchScriptEngine
from tests.artifacts import TINY_LABELS, TINY_NAME, coloured, publish_tiny_artifact
from tests.integration.conftest import ZOO

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
MOST = 20


@pytest.fixture(scope="module")
def scripted() -> TorchScriptEngine:
    return TorchScriptEngine(bundled(), torch.device("cuda"), "fp32")


@pytest.fixture(scope="module")
def engine(scripted: TorchScriptEngine) -> CudaEngine:
    return CudaEngine(scripted, MOST, slots=2)


def bundled() -> Artifact:
    repository = ModelRepository(ZOO)
    return repository.read("cats-vs-dogs", repository.versions("cats-vs-dogs")[-1])


def works(count: int, seed: int, **wishes: object) -> list[Work]:
    chance = torch.Generator().manual_seed(seed)
    side = bundled().manifest.input.height
    images = torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=chance)
    return [Work(image, top_k=2, **wishes) for image in images]  # type: ignore[arg-type]


def same(ours: Sequence[Scores | Exception], plain: Sequence[Scores | Exception]) -> None:
    for one, other in zip(ours, plain, strict=True):
        assert isinstance(one, Scores)
        assert isinstance(other, Scores)
        assert one.indices == other.indices
        assert one.values == pytest.approx(other.values, abs=1e-4)


@on_gpu
@pytest.mark.parametrize("count", [1, 3, 9, MOST])
def test_a_batch_padded_to_its_bucket_is_answered_as_by_torchscript(
    scripted: TorchScriptEngine, engine: CudaEngine, count: int
) -> None:
    batch = works(count, seed=count)
    same(engine.run(batch), scripted.run(batch))
    same(engine.run([*batch[1:], batch[0]]), scripted.run([*batch[1:], batch[0]]))


@on_gpu
def test_lanes_do_not_see_each_others_images(
    scripted: TorchScriptEngine, engine: CudaEngine
) -> None:
    batches = [works(1 + seed % MOST, seed) for seed in range(60)]
    expected = [scripted.run(batch) for batch in batches]
    with ThreadPoolExecutor(4) as lanes:
        for ours, plain in zip(lanes.map(engine.run, batches), expected, strict=True):
            same(ours, plain)


@on_gpu
def test_images_that_lie_on_the_device_already_are_taken_from_there(
    scripted: TorchScriptEngine, engine: CudaEngine
) -> None:
    batch = works(4, seed=7)
    mixed = [Work(w.image.cuda() if at % 2 else w.image, 2) for at, w in enumerate(batch)]
    same(engine.run(mixed), scripted.run(batch))


@on_gpu
def test_maps_come_from_the_batch_s_own_features(
    scripted: TorchScriptEngine, engine: CudaEngine
) -> None:
    batch = works(3, seed=5, explain=Explain(method=CamMethod.GRAD_CAM))
    for one, other in zip(engine.run(batch), scripted.run(batch), strict=True):
        assert isinstance(one, Scores)
        assert isinstance(other, Scores)
        assert one.activation is not None
        assert other.activation is not None
        assert torch.allclose(one.activation.map, other.activation.map, atol=1e-3)


@on_gpu
def test_what_does_not_fit_is_left_out_and_refused_as_out_of_memory(
    scripted: TorchScriptEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = CudaEngine._capture

    def cramped(self: CudaEngine, size: int) -> object:
        if size > 4:
            raise torch.OutOfMemoryError
        return capture(self, size)

    monkeypatch.setattr(CudaEngine, "_capture", cramped)
    small = CudaEngine(scripted, MOST, slots=1)
    assert small.largest == 4
    assert small.warm_up([1, 4, MOST], 1).keys() == {1, 4, MOST}
    with pytest.raises(torch.OutOfMemoryError):
        small.run(works(5, seed=1))
    same(small.run(works(4, seed=1)), scripted.run(works(4, seed=1)))


@on_gpu
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_keeps_the_golden_samples(precision: str) -> None:
    half = TorchScriptEngine(bundled(), torch.device("cuda"), precision)  # type: ignore[arg-type]
    assert isinstance(first_engine(half, bundled(), 4, 2), CudaEngine)


def test_without_a_gpu_torchscript_is_first(tmp_path: Path) -> None:
    publish_tiny_artifact(tmp_path)
    artifact = ModelRepository(tmp_path).read(TINY_NAME, 1)
    plain = TorchScriptEngine(artifact, torch.device("cpu"), "fp32")
    assert first_engine(plain, artifact, 8, 2) is plain


class Answering:
    """Plays an engine of graphs, on the CPU."""

    largest = 4

    def __init__(self, engine: TorchScriptEngine, shift: float = 0.0) -> None:
        self._engine = engine
        self._shift = shift
        self.sizes: set[int] = set()

    def scores(self, images: Tensor) -> Tensor:
        self.sizes.add(len(images))
        return self._engine.scores(self._engine.features_and_logits(images)[1]) + self._shift


def test_graphs_are_proven_alone_and_in_batches(tmp_path: Path) -> None:
    publish_tiny_artifact(tmp_path)
    artifact = ModelRepository(tmp_path).read(TINY_NAME, 1)
    plain = TorchScriptEngine(artifact, torch.device("cpu"), "fp32")
    right = Answering(plain)
    prove(right, artifact, 1e-5)
    assert right.sizes == {1, 4, 2}  # six samples, of which four fit
    with pytest.raises(GoldenMismatchError):
        prove(Answering(plain, shift=0.01), artifact, 1e-5)


class HostSlot:
    """A slot whose device is the CPU."""

    def __init__(self, largest: int, side: int) -> None:
        self.host = torch.zeros((largest, 3, side, side), dtype=torch.uint8)
        self.images = torch.zeros_like(self.host)


def test_a_batch_is_staged_in_order_and_leaves_the_rest() -> None:
    slot = HostSlot(4, side=16)
    images = [coloured(label) for label in TINY_LABELS]
    cuda._stage(slot, images)  # type: ignore[arg-type]
    assert torch.equal(slot.images[:3], torch.stack(images))
    assert not slot.images[3].any()
