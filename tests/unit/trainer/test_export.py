import torch

from models import torchscript
from trainer.export import ExportedModel, export
from trainer.logits import logits_of
from trainer.networks.resnet import ResNet
from trainer.normalize import Normalize


def network() -> ResNet:
    torch.manual_seed(0)
    return ResNet((1, 1), (8, 16), classes=3, dropout=0.5).eval()


def test_eager_scripted_and_reloaded_modules_agree() -> None:
    normalize, images = Normalize((0.4,) * 3, (0.2,) * 3), torch.randint(0, 256, (5, 3, 32, 32))
    images = images.to(torch.uint8)
    eager = ExportedModel(normalize, network()).eval()
    scripted = export(normalize, network())
    loaded = torchscript.load(torchscript.save(scripted))
    expected = logits_of(eager, images)
    assert expected.dtype == torch.float32
    for module in (scripted, loaded):
        assert torch.equal(logits_of(module, images), expected)
        assert torch.allclose(module.head(module.features(images)), expected)


def test_only_the_body_is_cast() -> None:
    images = torch.randint(0, 256, (2, 3, 32, 32)).to(torch.uint8)
    module = export(Normalize((0.4,) * 3, (0.2,) * 3), network())
    expected = logits_of(module, images)
    module.body.to(dtype=torch.bfloat16)
    assert module.features(images).dtype == torch.bfloat16
    assert logits_of(module, images).dtype == torch.float32
    assert torch.allclose(logits_of(module, images), expected, atol=0.05)


def test_features_and_head_make_the_network() -> None:
    net, images = network(), torch.randn(2, 3, 32, 32)
    assert net.features(images).shape == (2, 16, 4, 4)
    assert torch.equal(net.head(net.features(images)), net(images))
