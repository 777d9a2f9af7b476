import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor

from models import torchscript
from trainer.class_activation import class_activation_maps, overlay
from trainer.export import ExportedModel, assemble
from trainer.networks import build
from trainer.normalize import Normalize
from trainer.recipe import (
    NetworkSpec,
    ResNet9Spec,
    SmallResNetSpec,
    TorchvisionResNetSpec,
    Vgg16Spec,
)

LABELS = torch.tensor([2, 0, 1])
SMALL = SmallResNetSpec(name="resnet", depths=(1, 1), widths=(8, 16))


def model_of(spec: NetworkSpec) -> ExportedModel:
    torch.manual_seed(0)
    return assemble(Normalize([0.5] * 3, [0.25] * 3), build(spec, classes=3))


def pixels() -> Tensor:
    return torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)


def captums(model: ExportedModel, layer: str, images: Tensor, labels: Tensor) -> Tensor:
    """captum's Grad-CAM at a layer, each map divided by its maximum where it has one."""
    network = model.body.network
    oracle = LayerGradCam(network, network.get_submodule(layer))
    maps = oracle.attribute(model.normalize(images), labels, relu_attributions=True)
    maps = maps[:, 0].detach()
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)


@pytest.mark.parametrize(
    ("spec", "layer"),
    [
        (ResNet9Spec(name="resnet9"), "residual2"),
        (TorchvisionResNetSpec(name="resnet18"), "base.layer4"),
        (Vgg16Spec(name="vgg16"), "base"),
    ],
    ids=["resnet9", "resnet18", "vgg16"],
)
def test_maps_agree_with_captum(spec: NetworkSpec, layer: str) -> None:
    model = model_of(spec)
    images, labels = pixels()[:2].repeat_interleave(3, dim=0), LABELS.repeat(2)
    expected = captums(model, layer, images, labels)
    assert (expected.amax(dim=(1, 2)) == 1).sum() >= 2  # every photo speaks for some class
    loaded = torchscript.load(torchscript.save(torchscript.script(model)))
    for candidate in (model, loaded):
        found = class_activation_maps(candidate, images, labels)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_a_frozen_script_maps_alike() -> None:
    model, images = model_of(SMALL), pixels()
    frozen = torchscript.freeze(torchscript.script(model), keep=["features", "head"])
    found = class_activation_maps(frozen, images, LABELS)
    expected = class_activation_maps(model, images, LABELS)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_inference_mode_around_it_changes_nothing() -> None:
    model, images = model_of(SMALL), pixels()
    expected = class_activation_maps(model, images, LABELS)
    with torch.inference_mode():
        found = class_activation_maps(model, images.clone(), LABELS.clone())
    assert torch.equal(found, expected)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_bfloat16_body_gives_float32_maps_near_those_of_float32() -> None:
    model, images = model_of(SMALL), pixels()
    expected = class_activation_maps(model, images, LABELS)
    model.body.to(dtype=torch.bfloat16)
    found = class_activation_maps(model, images, LABELS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0)


def test_a_map_that_nothing_speaks_for_is_zero_and_a_faint_one_is_not() -> None:
    model, images = model_of(SMALL), pixels()
    with torch.no_grad():
        weight = model.body.network.get_submodule("classifier").weight
        weight[0] = -1.0  # the features are not negative
        weight[1] = 1e-20
        weight[2] = 1.0
    peaks = class_activation_maps(model, images, LABELS).amax(dim=(1, 2))
    assert peaks.tolist() == [1.0, 0.0, 1.0]


def test_an_overlay_is_brightest_where_the_map_is() -> None:
    activation = torch.zeros(4, 4)
    activation[0, 0] = 1.0
    coloured = overlay(torch.full((3, 32, 40), 100, dtype=torch.uint8), activation)
    assert (coloured.shape, coloured.dtype) == ((3, 32, 40), torch.uint8)
    assert coloured[:, 0, 0].sum() > coloured[:, 31, 39].sum() + 100
