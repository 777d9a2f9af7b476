import pytest
import torch
from torch import Tensor, nn

from models import torchscript
from trainer.class_activation import class_activation_maps, overlay
from trainer.export import ExportedModel, assemble
from trainer.networks import build
from trainer.normalize import Normalize
from trainer.recipe import NetworkSpec, ResNet9Spec, TorchvisionResNetSpec, Vgg16Spec

LABELS = torch.tensor([2, 0, 1])


def hooked_grad_cam(model: ExportedModel, layer: nn.Module, images: Tensor) -> Tensor:
    """Grad-CAM by hooks on the last layer and a full backward pass, photo by photo."""
    maps = []
    for image, label in zip(images, LABELS, strict=True):
        seen: list[Tensor] = []
        hook = layer.register_forward_hook(lambda _m, _i, output, seen=seen: seen.append(output))
        logits = model(image[None])
        hook.remove()
        (gradient,) = torch.autograd.grad(logits[0, label], seen[0])
        activation = (gradient.mean((2, 3), keepdim=True) * seen[0]).sum(1).relu()[0].detach()
        maps.append(activation / activation.max().clamp(min=1e-12))
    return torch.stack(maps)


@pytest.mark.parametrize(
    ("spec", "layer"),
    [
        (ResNet9Spec(name="resnet9"), "residual2"),
        (TorchvisionResNetSpec(name="resnet18"), "base.layer4"),
        (Vgg16Spec(name="vgg16"), "base"),
    ],
    ids=["resnet9", "resnet18", "vgg16"],
)
def test_maps_agree_with_hooks_and_a_full_backward_pass(spec: NetworkSpec, layer: str) -> None:
    torch.manual_seed(0)
    model = assemble(Normalize([0.5] * 3, [0.25] * 3), build(spec, classes=3))
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    expected = hooked_grad_cam(model, model.body.network.get_submodule(layer), images)
    loaded = torchscript.load(torchscript.save(torchscript.script(model)))
    for candidate in (model, loaded):
        found = class_activation_maps(candidate, images, LABELS)
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert expected.amax(dim=(1, 2)).max() == 1.0


def test_an_overlay_is_brightest_where_the_map_is() -> None:
    activation = torch.zeros(4, 4)
    activation[0, 0] = 1.0
    coloured = overlay(torch.full((3, 32, 32), 100, dtype=torch.uint8), activation)
    assert (coloured.shape, coloured.dtype) == ((3, 32, 32), torch.uint8)
    assert coloured[:, 0, 0].sum() > coloured[:, 31, 31].sum() + 100
