import re
from pathlib import Path

import pytest
import torch
import torchvision

from trainer.errors import WeightsError
from trainer.networks import build
from trainer.networks.weights import body_state, load_weights
from trainer.recipe import ResNet9Spec, TorchvisionResNetSpec, Vgg16Spec
from trainer.run import Run


def test_torchvisions_file_fits_and_leaves_the_head_fresh(tmp_path: Path) -> None:
    published = torchvision.models.resnet18(weights=None)
    file = tmp_path / "resnet18.pth"
    torch.save(published.state_dict(), file)
    spec = TorchvisionResNetSpec(name="resnet18", weights=str(file))
    network = build(spec, classes=3)
    head = network.classifier.weight.clone()
    report = load_weights(network, spec)
    assert report.loaded == len(published.state_dict()) - 2
    assert torch.equal(network.base.layer4[1].conv2.weight, published.layer4[1].conv2.weight)
    assert torch.equal(network.classifier.weight, head)


def test_vgg16s_file_fits(tmp_path: Path) -> None:
    features = {
        f"features.{name}": tensor
        for name, tensor in torchvision.models.vgg16(weights=None).features.state_dict().items()
    }
    file = tmp_path / "vgg16.pth"
    torch.save(features, file)
    spec = Vgg16Spec(name="vgg16", weights=str(file))
    assert load_weights(build(spec, classes=3), spec).loaded == len(features) == 26


def test_a_runs_checkpoint_fits_by_file_and_by_folder(finished_run: Run) -> None:
    spec = finished_run.recipe().network
    trained = torch.load(finished_run.best_checkpoint, weights_only=True)["state_dict"]
    for weights in (finished_run.folder, finished_run.best_checkpoint):
        network = build(spec, classes=7)
        load_weights(network, spec.model_copy(update={"weights": str(weights)}))
        for name, tensor in body_state(network).items():
            assert torch.equal(tensor, trained[f"network.{name}"]), name


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    file = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), file)
    deeper = TorchvisionResNetSpec(name="resnet34", weights=str(file))
    with pytest.raises(WeightsError, match="lacks 80 of the body's 216 tensors"):
        load_weights(build(deeper, classes=3), deeper)
    wider = TorchvisionResNetSpec(name="resnet50", weights=str(file))
    with pytest.raises(WeightsError, match=r"resnet18\.pth lacks"):
        load_weights(build(wider, classes=3), wider)


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 half a zip"])
def test_a_file_that_is_no_weights_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    spec = ResNet9Spec(name="resnet9", weights=str(file))
    with pytest.raises(WeightsError, match=f"^{re.escape(str(file))} is not a file of PyTorch"):
        load_weights(build(spec, classes=2), spec)


def test_a_missing_file_and_a_list_of_numbers(tmp_path: Path) -> None:
    spec = ResNet9Spec(name="resnet9", weights=str(tmp_path / "none.pth"))
    with pytest.raises(WeightsError, match="No such file"):
        load_weights(build(spec, classes=2), spec)
    torch.save([1, 2], tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        load_weights(build(spec, classes=2), spec)


def test_imagenet_without_a_network_says_what_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")  # nobody listens on port 1
    spec = TorchvisionResNetSpec(name="resnet18", weights="imagenet")
    with pytest.raises(WeightsError, match=r"resnet18-f37072fd\.pth and pass --weights FILE"):
        load_weights(build(spec, classes=2), spec)


def test_nobody_publishes_weights_of_small_networks() -> None:
    spec = ResNet9Spec(name="resnet9", weights="imagenet")
    with pytest.raises(WeightsError, match="nobody publishes ImageNet weights of resnet9"):
        load_weights(build(spec, classes=2), spec)
