import io
from pathlib import Path

import torch

from models.manifest import InputSpec
from trainer.export import assemble
from trainer.networks import build
from trainer.normalize import Normalize
from trainer.recipe import ResNet9Spec, SmallResNetSpec
from trainer.twin import export_twin

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)


def test_the_twin_gives_the_same_logits_for_any_batch() -> None:
    torch.manual_seed(0)
    spec = InputSpec(height=64, width=64, mean=MEAN, std=STD)
    for network in (
        SmallResNetSpec(name="resnet", depths=(1, 1), widths=(8, 16)),
        ResNet9Spec(name="resnet9"),
    ):
        model = assemble(Normalize(MEAN, STD), build(network, classes=3))
        twin = torch.export.load(io.BytesIO(export_twin(model, spec))).module()
        for batch in (1, 3):
            images = torch.randint(0, 256, (batch, 3, 64, 64), dtype=torch.uint8)
            with torch.no_grad():
                torch.testing.assert_close(twin(images), model(images), atol=1e-5, rtol=1e-5)


def test_the_twin_tells_nothing_of_where_it_was_made() -> None:
    model = assemble(Normalize(MEAN, STD), build(ResNet9Spec(name="resnet9"), classes=3))
    twin = export_twin(model, InputSpec(height=64, width=64, mean=MEAN, std=STD))
    assert str(Path(__file__).parents[3]).encode() not in twin
    assert b"trainer/networks" not in twin
