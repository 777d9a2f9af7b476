"""Batches are put together of the sizes that are compiled. Real libraries: integration tests."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.artifact import Artifact
from models.errors import GoldenMismatchError
from models.repository import ModelRepository
from server.pipeline import compiled
from server.pipeline.compiled import CompiledEngine
from server.pipeline.compiler import library_sizes
from server.pipeline.engine import Scores, Work
from server.pipeline.torchscript import TorchScriptEngine
from tests.artifacts import TINY_NAME, coloured, publish_tiny_artifact

COLOURS = ("red", "green", "blue")


class Library:
    """Computes as TorchScript does, batches of its own size alone."""

    scripted: TorchScriptEngine
    ran: list[int]
    wrong: int = 0

    def __init__(self, path: Path, _runners: int) -> None:
        self.size = int(path.stem)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        assert len(images) == self.size
        assert images.is_contiguous()
        Library.ran.append(self.size)
        features, logits = Library.scripted.features_and_logits(images)
        return features, logits.roll(1, dims=1) if self.size == Library.wrong else logits


@pytest.fixture
def artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    publish_tiny_artifact(tmp_path)
    read = ModelRepository(tmp_path).read(TINY_NAME, 1)
    monkeypatch.setattr(compiled, "NativeModule", Library)
    monkeypatch.setattr(Library, "scripted", scripted(read), raising=False)
    monkeypatch.setattr(Library, "ran", [], raising=False)
    return read


def scripted(artifact: Artifact) -> TorchScriptEngine:
    return TorchScriptEngine(artifact, torch.device("cpu"), "fp32")


def engine(artifact: Artifact, largest: int) -> CompiledEngine:
    libraries = {f"{size}.so": Path(f"{size}.so") for size in library_sizes(largest)}
    return CompiledEngine(artifact, libraries, 1, Library.scripted)


@pytest.mark.parametrize(
    ("largest", "batch", "parts"),
    [(8, 8, [8]), (8, 7, [4, 2, 1]), (16, 19, [8, 8, 2, 1]), (3, 3, [2, 1]), (1, 2, [1, 1])],
)
def test_a_batch_is_put_together_in_order(
    artifact: Artifact, largest: int, batch: int, parts: list[int]
) -> None:
    colours = [COLOURS[number % 3] for number in range(batch)]
    tried = engine(artifact, largest)
    Library.ran.clear()
    answers = tried.run([Work(coloured(colour), 1) for colour in colours])
    assert Library.ran == parts
    labels = [label.id for label in artifact.manifest.labels]
    found = [labels[one.indices[0]] for one in answers if isinstance(one, Scores)]
    assert found == colours


@pytest.mark.parametrize("wrong", [1, 2, 4, 8])
def test_every_library_is_proven_whatever_the_number_of_golden_samples(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, wrong: int
) -> None:
    engine(artifact, 8)
    assert set(Library.ran) == {1, 2, 4, 8}
    monkeypatch.setattr(Library, "wrong", wrong)
    with pytest.raises(GoldenMismatchError):
        engine(artifact, 8)


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4)), (8, (1, 2, 4, 8)), (64, (1, 2, 4, 8))],
)
def test_powers_of_two_are_compiled(most: int, sizes: tuple[int, ...]) -> None:
    assert library_sizes(most) == sizes
