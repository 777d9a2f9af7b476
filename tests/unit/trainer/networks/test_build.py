import pytest
import torch
from torch import Tensor, nn

from models import torchscript
from tests.unit.trainer.networks.specs import SPECS, name_of
from trainer.export import assemble, export
from trainer.logits import logits_of
from trainer.networks import Network, build
from trainer.normalize import Normalize
from trainer.recipe import NetworkSpec, ResNet9Spec, TorchvisionResNetSpec, Vgg16Spec

# Freezing is slow; the two deeper ResNets hold the same layers as these.
FROZEN = [spec for spec in SPECS if spec.name not in {"resnet34", "resnet50"}]
NORMALIZE = Normalize([0.5] * 3, [0.25] * 3)


def pixels() -> Tensor:
    return torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)


def seeded(spec: NetworkSpec, classes: int = 3) -> Network:
    torch.manual_seed(0)
    return build(spec, classes).eval()


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        (ResNet9Spec(name="resnet9"), 6_575_370),
        (Vgg16Spec(name="vgg16"), 14_982_474),
        # torchvision's own, less its 1,000 classes.
        (TorchvisionResNetSpec(name="resnet18"), 11_689_512 - 513_000 + 5_130),
        (TorchvisionResNetSpec(name="resnet34"), 21_797_672 - 513_000 + 5_130),
        (TorchvisionResNetSpec(name="resnet50"), 25_557_032 - 2_049_000 + 20_490),
    ],
    ids=name_of,
)
def test_trainable_parameters_at_ten_classes(spec: NetworkSpec, parameters: int) -> None:
    network = build(spec, classes=10)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == parameters


@pytest.mark.parametrize("spec", SPECS, ids=name_of)
def test_the_saved_script_agrees_with_eager(spec: NetworkSpec) -> None:
    network, images = seeded(spec), pixels()
    expected = logits_of(assemble(NORMALIZE, network), images)
    archive = torchscript.save(export(NORMALIZE, network))
    loaded = torchscript.load(archive)
    # Optimising for speed costs seconds and is what freezing is tested with.
    with torch.no_grad(), torch.jit.optimized_execution(False):
        whole, halves = loaded(images), loaded.head(loaded.features(images))
    for logits in (whole, halves):
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("spec", FROZEN, ids=name_of)
def test_freezing_keeps_both_halves_in_fp32_and_as_the_server_casts_it(spec: NetworkSpec) -> None:
    network, images = seeded(spec), pixels()
    archive = torchscript.save(export(NORMALIZE, network))
    expected = logits_of(assemble(NORMALIZE, network), images)
    tolerances = {torch.float32: 1e-4, torch.bfloat16: 0.05 * float(expected.abs().max())}
    for dtype, tolerance in tolerances.items():
        module = torchscript.load(archive)
        module.body.to(dtype=dtype, memory_format=torch.channels_last)
        frozen = torchscript.freeze(module, keep=["features", "head"])
        with torch.inference_mode():
            features = frozen.features(images.to(memory_format=torch.channels_last))
            logits = frozen.head(features)
        assert (features.dtype, logits.dtype) == (dtype, torch.float32)
        torch.testing.assert_close(logits, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("spec", SPECS, ids=name_of)
def test_every_body_runs_in_bfloat16(spec: NetworkSpec) -> None:
    model, images = assemble(NORMALIZE, seeded(spec)), pixels()
    expected = logits_of(model, images)
    model.body.to(dtype=torch.bfloat16, memory_format=torch.channels_last)
    found = logits_of(model, images)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, atol=0.05 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize(("side", "map_side"), [(64, 8), (80, 10)])
def test_resnet9_takes_larger_photos_than_it_trains_on(side: int, map_side: int) -> None:
    network = seeded(ResNet9Spec(name="resnet9"), classes=10)
    with torch.no_grad():
        features = network.features(torch.randn(1, 3, side, side))
        assert features.shape == (1, 512, map_side, map_side)
        assert network.head(features).shape == (1, 10)


def test_vgg16s_stages_are_its_five_convolutional_blocks() -> None:
    stages = build(Vgg16Spec(name="vgg16"), classes=2).body_stages()
    convolutions = [sum(isinstance(m, nn.Conv2d) for m in stage.modules()) for stage in stages]
    assert convolutions == [2, 2, 3, 3, 3]


@pytest.mark.parametrize("spec", SPECS, ids=name_of)
def test_dropout_of_the_spec_acts_in_training_alone(spec: NetworkSpec) -> None:
    network = seeded(spec.model_copy(update={"dropout": 0.5}))
    with torch.no_grad():
        features = network.features(torch.randn(1, 3, 32, 32))
        assert torch.equal(network.head(features), network.head(features))
        network.train()
        assert not torch.equal(network.head(features), network.head(features))
