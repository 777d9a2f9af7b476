"""The GPU benchmark, as far as a machine without a GPU can tell."""

from pathlib import Path

import pytest
import torch

from benchmarks import artifact
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.engines import Rate, eager, rates
from benchmarks.gpu.report import Results, tables
from benchmarks.gpu.served import Served
from benchmarks.networks import Nothing
from models.repository import ModelRepository
from server.pipeline.torchscript import TorchScriptEngine
from tests.integration.conftest import PHOTOS


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_and_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "gpu.json"
    monkeypatch.setattr("sys.argv", ["benchmarks.gpu", "--output", str(output)])
    assert main() == 0
    assert capsys.readouterr().out == "no CUDA device: not measured\n"
    assert not output.exists()


def test_engines_that_are_compared_compute_the_same(tmp_path: Path) -> None:
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]
    artifact.publish(tmp_path, "nothing", Nothing().eval(), 8, photos)
    read = ModelRepository(tmp_path).read("nothing", 1)
    scripted = TorchScriptEngine(read, torch.device("cpu"), "fp32")
    plain = eager(Nothing().eval(), torch.device("cpu"), torch.float32)
    images = torch.randint(256, (5, 3, 8, 8), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.allclose(plain(images), scripted.features_and_logits(images)[1], atol=1e-5)

    def fails(_images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no such kernel\nand more")

    found = rates({"eager": plain, "failing": fails}, images, rounds=3)
    assert found["failing"] == "no such kernel"
    best = found["eager"]
    assert isinstance(best, Rate)
    assert 0 < best.least <= best.median <= best.most


def test_tables_have_a_row_for_each_size_and_way() -> None:
    steps = {"decode_us": 1.0, "queue_us": 2.0, "engine_us": 3.0, "total_us": 7.0, "batch_size": 8}
    results = Results(
        "a machine",
        {1: {"eager": Rate(10.0, 9.0, 11.0), "AOTInductor": "no compiler"}},
        {1: 20.0},
        {"2": {"raw tensors": Served(18.0, 0.5, steps), "unary JPEG": Served(5.0, None, {})}},
    )
    lines = tables(results)
    assert "| 1 | 10 | failed | 20 |" in lines
    assert "| 2 | raw tensors | 18 | 0.90 | 50% | 1, 2, 3, 7 | 8 |" in lines
    assert any("| 2 | unary JPEG | 5 | 0.25 | not measured |" in line for line in lines)
