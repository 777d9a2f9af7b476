import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor

from models import torchscript
from models.class_activation import CamMethod, class_activation_maps, maps_of_features
from models.overlay import overlay
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


@pytest.mark.parametrize("method", CamMethod)
def test_a_frozen_script_maps_alike(method: CamMethod) -> None:
    model, images = model_of(SMALL), pixels()
    frozen = torchscript.freeze_both(torchscript.load(torchscript.save(torchscript.script(model))))
    with torch.inference_mode():
        features, logits = frozen.features_and_logits(images)
        torch.testing.assert_close(logits, model(images), atol=1e-4, rtol=1e-4)
        found = maps_of_features(frozen, features, LABELS, method)
    expected = class_activation_maps(model, images, LABELS, method)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_grad_cam_plus_plus_covers_every_object_and_grad_cam_the_strongest() -> None:
    """Section 3.2 of arXiv 1710.11063: two objects that different filters see, one of them small.

    Of a mean-pooling head, Grad-CAM weighs both filters alike, so that the filter's own extent
    decides nothing; Grad-CAM++ divides by it.
    """

    class MeanHead(torch.nn.Module):
        def head(self, features: Tensor) -> Tensor:
            return features.mean(dim=(2, 3)).sum(dim=1, keepdim=True)

    features = torch.zeros(1, 2, 8, 8)
    features[0, 0, :6, :] = 1.0
    features[0, 1, 7, 7] = 1.0
    labels = torch.tensor([0])
    plain = maps_of_features(MeanHead(), features, labels)
    plus = maps_of_features(MeanHead(), features, labels, CamMethod.GRAD_CAM_PLUS_PLUS)
    gradient = 1 / 64  # of each pixel
    alphas = [1 / (2 + extent * gradient) for extent in (48, 1)]
    assert plain[0, 7, 7] == plain[0, 0, 0] == 1
    assert plus[0, 7, 7] == 1
    assert plus[0, 0, 0] == pytest.approx(alphas[0] / alphas[1], rel=1e-5)


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
