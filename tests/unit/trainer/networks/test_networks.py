import io

import pytest
import torch

from models import torchscript
from models.manifest import InputSpec
from trainer.export import assemble
from trainer.networks import build
from trainer.normalize import Normalize
from trainer.recipe import (
    NetworkSpec,
    ResNet9Spec,
    SmallResNetSpec,
    TorchvisionResNetSpec,
    Vgg16Spec,
)
from trainer.twin import export_twin

SPECS: list[NetworkSpec] = [
    SmallResNetSpec(name="resnet", depths=(1, 1), widths=(8, 16)),
    ResNet9Spec(name="resnet9"),
    Vgg16Spec(name="vgg16"),
    TorchvisionResNetSpec(name="resnet18"),
]


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        (ResNet9Spec(name="resnet9"), 6_575_370),
        (Vgg16Spec(name="vgg16"), 14_982_474),
        # torchvision's own, less its 1,000 classes.
        (TorchvisionResNetSpec(name="resnet34"), 21_797_672 - 513_000 + 5_130),
        (TorchvisionResNetSpec(name="resnet50"), 25_557_032 - 2_049_000 + 20_490),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_trainable_parameters_at_ten_classes(spec: NetworkSpec, parameters: int) -> None:
    network = build(spec, classes=10)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == parameters


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_eager_scripted_frozen_and_exported_agree(spec: NetworkSpec) -> None:
    torch.manual_seed(0)
    model = assemble(Normalize([0.5] * 3, [0.25] * 3), build(spec, classes=3))
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    scripted = torchscript.load(torchscript.save(torchscript.script(model)))
    frozen = torchscript.freeze(scripted, keep=["features", "head"])
    input_spec = InputSpec(height=64, width=64, mean=(0.5,) * 3, std=(0.25,) * 3)
    twin = torch.export.load(io.BytesIO(export_twin(model, input_spec))).module()
    with torch.no_grad():
        expected = model(images)
        for other in (scripted, frozen, twin):
            torch.testing.assert_close(other(images), expected, atol=1e-4, rtol=1e-4)
        halves = frozen.head(frozen.features(images))
    torch.testing.assert_close(halves, expected, atol=1e-4, rtol=1e-4)
