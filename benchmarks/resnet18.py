"""A ResNet-18 at 224 pixels as an artifact, with fresh weights: speed does not depend on them."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from models import torchscript
from models.golden import GoldenSamples, save_golden
from models.image_header import ImageLimits
from models.manifest import (
    GOLDEN_NAME,
    MODEL_NAME,
    Calibration,
    FileEntry,
    Golden,
    InputSpec,
    Label,
    Manifest,
    Metrics,
)
from models.preprocess import preprocess
from models.repository import ModelRepository, Seal
from trainer.export import export, logits_of
from trainer.networks.resnet import ResNet
from trainer.normalize import Normalize

NAME = "resnet18"
SIDE = 224
_CLASSES = 10
_GOLDEN = 4
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def publish(root: Path, photos: Sequence[bytes]) -> None:
    """Publish the artifact as version 1 of ``resnet18`` below ``root``."""
    torch.manual_seed(0)
    network = ResNet((2, 2, 2, 2), (64, 128, 256, 512), _CLASSES).eval()
    module = export(Normalize(_MEAN, _STD), network)
    spec = InputSpec(height=SIDE, width=SIDE, mean=_MEAN, std=_STD)

    def build(folder: Path) -> Seal:
        golden = _golden(module, photos, spec)
        (folder / MODEL_NAME).write_bytes(torchscript.save(module))
        (folder / GOLDEN_NAME).write_bytes(save_golden(golden))
        parameters = sum(parameter.numel() for parameter in network.parameters())
        return lambda version: _manifest(version, folder, spec, parameters)

    ModelRepository(root).publish(NAME, build, lambda _folder: None)


def _golden(module: torch.nn.Module, photos: Sequence[bytes], spec: InputSpec) -> GoldenSamples:
    inputs = torch.stack([preprocess(photo, spec, ImageLimits()) for photo in photos])
    logits = logits_of(module, inputs)
    best = logits.topk(2).values
    clearest = (best[:, 0] - best[:, 1]).argsort(descending=True)[:_GOLDEN]
    return GoldenSamples(inputs[clearest], logits[clearest])


def _manifest(version: int, folder: Path, spec: InputSpec, parameters: int) -> Manifest:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return Manifest(
        name=NAME,
        version=version,
        created=datetime.now(UTC),
        labels=tuple(Label(id=f"class-{n}", display_name=f"Class {n}") for n in range(_CLASSES)),
        input=spec,
        network="resnet18",
        parameters=parameters,
        metrics=Metrics(
            images=1,
            accuracy=0.0,
            accuracy_low=0.0,
            accuracy_high=1.0,
            log_loss=0.0,
            expected_calibration_error=0.0,
        ),
        calibration=Calibration(),
        golden=Golden(samples=_GOLDEN, score_tolerance_fp32=1e-3, score_tolerance_bf16=0.2),
        data_fingerprint=hashlib.sha256(b"").hexdigest(),
        recipe={},
        libraries={"torch": torch.__version__},
        files={
            name: FileEntry(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
            for name, data in files.items()
        },
    )
