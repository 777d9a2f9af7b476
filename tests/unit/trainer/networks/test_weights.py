import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as lightning
import safetensors.torch
import torch
import torchvision
from pytorch_lightning.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from models.artifact import read_artifact
from tests.unit.trainer.photos import write_photos, write_recipe
from trainer.default_recipe import default_recipe
from trainer.errors import WeightsError
from trainer.networks import Network, build
from trainer.networks.weights import WeightsReport, body_state, load_weights, portable_name
from trainer.recipe import (
    NetworkSpec,
    ResNet9Spec,
    SmallResNetSpec,
    TorchvisionResNetSpec,
    Vgg16Spec,
    load_recipe,
)
from trainer.run import Run
from trainer.task import ClassificationTask

SMALL = SmallResNetSpec(name="resnet", depths=(1,), widths=(8,))
RESNET18 = TorchvisionResNetSpec(name="resnet18")


def load(spec: NetworkSpec, weights: object, classes: int = 3) -> tuple[Network, WeightsReport]:
    network = build(spec, classes)
    return network, load_weights(network, spec.model_copy(update={"weights": str(weights)}))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("published") / "resnet18.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), file)
    return file


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch with averaged weights, two classes, as ``fit`` writes checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    task = ClassificationTask(load_recipe(str(write_recipe(folder / "tiny.toml"))), 2)
    images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8)
    loader = DataLoader(TensorDataset(images, torch.arange(16) % 2), batch_size=8)
    best = ModelCheckpoint(folder / "checkpoints", filename="best", monitor="validation/loss")
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[best, EMAWeightAveraging(decay=0.5)],
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    with warnings.catch_warnings():
        # Lightning's: advice for large data, and a call that PyTorch 2.15 deprecates.
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
        trainer.fit(task, loader, loader)
    return folder


def test_none_leaves_everything_fresh() -> None:
    network, report = load(SMALL, "none")
    assert report == WeightsReport("none", 0, tuple(network.state_dict()))


def test_torchvisions_file_fits_and_leaves_the_head_fresh(published: Path) -> None:
    # As many classes as ImageNet: a head that is not ours is still left.
    torch.manual_seed(0)
    fresh = build(RESNET18, 1000).state_dict()
    torch.manual_seed(0)
    network, report = load(RESNET18, published, classes=1000)
    tensors = torch.load(published, weights_only=True)
    assert (report.loaded, report.origin) == (len(tensors) - 2, str(published))
    assert report.fresh == ("classifier.weight", "classifier.bias")
    found = network.state_dict()
    assert all(torch.equal(found[f"base.{name}"], tensors[name]) for name in list(tensors)[:-2])
    assert torch.equal(found["classifier.weight"], fresh["classifier.weight"])


def test_files_without_counters_fit(published: Path, tmp_path: Path) -> None:
    """torchvision's own ResNet files are from before batch norms counted."""
    tensors = torch.load(published, weights_only=True)
    old = {name: tensor for name, tensor in tensors.items() if "num_batches" not in name}
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    _, report = load(RESNET18, tmp_path / "old.pth")
    assert report.loaded == len(old) - 2


def test_vgg16s_file_fits(tmp_path: Path) -> None:
    base = build(Vgg16Spec(name="vgg16"), 3).get_submodule("base").state_dict()
    file = tmp_path / "vgg16.pth"
    # As in the published file, a classifier of another shape comes with it.
    dense = {"classifier.0.weight": torch.zeros(4096, 8), "classifier.0.bias": torch.zeros(4096)}
    torch.save({f"features.{name}": tensor for name, tensor in base.items()} | dense, file)
    network, report = load(Vgg16Spec(name="vgg16"), file)
    assert (report.loaded, len(report.fresh)) == (26, 4)
    assert torch.equal(network.state_dict()["base.28.weight"], base["28.weight"])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_state_dict_of_ours_fits_but_for_its_head(tmp_path: Path, suffix: str) -> None:
    ours = build(SMALL, 3)
    file = tmp_path / f"ours{suffix}"
    (safetensors.torch.save_file if suffix == ".safetensors" else torch.save)(
        ours.state_dict(), file
    )
    network, report = load(SMALL, file)
    found = body_state(network)
    assert report.loaded == len(found)
    assert all(torch.equal(tensor, found[name]) for name, tensor in body_state(ours).items())
    assert not torch.equal(network.head_modules()[0].weight, ours.head_modules()[0].weight)


@pytest.mark.parametrize("weights", ["checkpoints/best.ckpt", "."])
def test_a_runs_averaged_weights_fit_head_and_all(run_folder: Path, weights: str) -> None:
    file = run_folder / "checkpoints" / "best.ckpt"
    content = torch.load(file, weights_only=True)
    averaged, raw = content["state_dict"], content["current_model_state"]
    network, report = load(SMALL, run_folder / weights, classes=2)
    assert (report.fresh, report.origin) == ((), str(file))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, averaged[f"network.{name}"]), name
    assert any(not torch.equal(t, raw[n]) for n, t in averaged.items() if n in raw)


def test_a_runs_head_of_other_classes_is_left(run_folder: Path) -> None:
    network, report = load(SMALL, run_folder, classes=7)
    assert report.fresh == ("classifier.weight", "classifier.bias")
    assert report.loaded == len(body_state(network))


def test_another_network_is_named_and_changes_nothing(published: Path, tmp_path: Path) -> None:
    deeper = TorchvisionResNetSpec(name="resnet34", weights=str(published))
    network = build(deeper, 3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    missing = r"lacks 80 of the body's 216 tensors \(base\.layer1\.2\.conv1\.weight, .*, \.\.\.\)"
    with pytest.raises(WeightsError, match=missing):
        load_weights(network, deeper)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    wider = SmallResNetSpec(name="resnet", depths=(1,), widths=(16,))
    torch.save(build(wider, 3).state_dict(), tmp_path / "wider.pth")
    with pytest.raises(WeightsError, match=r"of the body's 24 tensors in another shape \(stem\.0"):
        load(SMALL, tmp_path / "wider.pth")


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 half a zip", b"\x80"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_is_no_weights_is_one_sentence(
    tmp_path: Path, content: bytes, suffix: str
) -> None:
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=f"^{re.escape(str(file))} is not a file of PyTorch"):
        load(SMALL, file)


def test_damage_is_never_a_traceback(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    spec = SMALL.model_copy(update={"weights": str(file)})
    network = build(spec, 3)
    torch.save({"a": torch.zeros(50)}, file, _use_new_zipfile_serialization=False)
    intact, numbers = file.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        broken = np.frombuffer(intact, np.uint8).copy()
        broken[numbers.integers(len(broken), size=4)] = numbers.integers(256, size=4)
        file.write_bytes(broken.tobytes())
        # Where the damage hits numbers only, the file still reads, but is of another network.
        with pytest.raises(WeightsError, match=f"^{re.escape(str(file))} [^\\n]*$"):
            load_weights(network, spec)


def test_a_published_module_and_code_in_a_pickle_are_refused(tmp_path: Path) -> None:
    archive = max(Path("models/zoo/cats-vs-dogs").glob("*/model.pt"))
    with pytest.raises(WeightsError, match=r"model\.pt is not a file of PyTorch weights$"):
        load(SMALL, archive)
    torch.save(build(SMALL, 3), tmp_path / "whole.pth")  # unpickling it would run code
    with pytest.raises(WeightsError, match="is not a file of PyTorch weights"):
        load(SMALL, tmp_path / "whole.pth")


def test_a_published_version_is_a_body_to_start_from(tmp_path: Path) -> None:
    version = Path("models/zoo/tiny-animals/1")
    spec = default_recipe(write_photos(tmp_path / "data", per_class=4), str(version)).network
    published = read_artifact(version.resolve()).module().state_dict()
    for classes, fresh in ((7, ()), (2, ("classifier.weight", "classifier.bias"))):
        network, report = load(spec, version, classes)
        assert (report.fresh, report.origin) == (fresh, str(version))
        for name, tensor in network.state_dict().items():
            assert name in fresh or torch.equal(tensor, published[f"body.network.{name}"]), name
    damaged = shutil.copytree(version, tmp_path / "tiny-animals" / "1")
    (damaged / "model.pt").write_bytes(b"PK")
    with pytest.raises(WeightsError, match=r"model\.pt has 2 bytes; the manifest says"):
        load(spec, damaged)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {1: torch.zeros(1)}])
def test_other_content_is_no_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth holds no state dict"):
        load(SMALL, tmp_path / "other.pth")


def test_missing_files_and_strange_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.pth cannot be read: No such file"):
        load(SMALL, tmp_path / "none.pth")
    with pytest.raises(WeightsError, match=r"checkpoints/best\.ckpt cannot be read: No such file"):
        load(SMALL, tmp_path)
    torch.save({"state_dict": {"model.weight": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match="is a checkpoint, but not of a run of this trainer"):
        load(SMALL, tmp_path / "other.ckpt")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's checkpoints in an empty folder, and no way out."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")  # nobody listens on port 1
    monkeypatch.setenv("no_proxy", "")
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("spec", "file"),
    [
        (RESNET18, "resnet18-f37072fd.pth"),
        (Vgg16Spec(name="vgg16"), "vgg16-397923af.pth"),
        (
            TorchvisionResNetSpec(name="resnet50", imagenet="IMAGENET1K_V2"),
            "resnet50-11ad3fa6.pth",
        ),
    ],
)
def test_imagenet_without_a_network_says_what_to_fetch(
    spec: NetworkSpec, file: str, offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch = rf"Fetch https://download\.pytorch\.org/models/{re.escape(file)} and pass --weights"
    with pytest.raises(WeightsError, match=fetch) as caught:
        load(spec, "imagenet")
    assert str(caught.value).endswith(f"or put {file} into {offline}")
    assert list(offline.iterdir()) == []  # nothing half-written
    assert capsys.readouterr().out == ""


def test_imagenet_comes_from_the_cache_when_it_is_there(published: Path, offline: Path) -> None:
    cached = offline / "resnet18-f37072fd.pth"
    cached.write_bytes(published.read_bytes())
    network, report = load(RESNET18, "imagenet")
    first: Tensor = torch.load(published, weights_only=True)["conv1.weight"]
    assert report.origin == "torchvision ResNet18_Weights.IMAGENET1K_V1"
    assert torch.equal(network.state_dict()["base.conv1.weight"], first)
    cached.write_bytes(published.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="delete it and it is fetched again"):
        load(RESNET18, "imagenet")


def test_nobody_publishes_weights_of_our_small_networks() -> None:
    for spec in (ResNet9Spec(name="resnet9"), SMALL):
        with pytest.raises(WeightsError, match="nobody publishes ImageNet weights of resnet"):
            load(spec, "imagenet")


def test_weights_are_named_without_the_folders_of_this_machine(finished_run: Run) -> None:
    run = "/".join(finished_run.folder.parts[-2:])
    assert portable_name(str(finished_run.folder)) == run
    assert portable_name(str(finished_run.best_checkpoint)) == f"{run}/checkpoints/best.ckpt"
    assert portable_name("/home/somebody/resnet34.pth") == "resnet34.pth"
    assert (portable_name("none"), portable_name("imagenet")) == ("none", "imagenet")
