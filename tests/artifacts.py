"""A tiny artifact that answers sensibly: the most colourful channel names the label.

A red image is "red", a green one "green", a blue one "blue". The module has the shape
of an exported one: ``features`` and ``head``, a ``body`` that may be cast, uint8 in,
logits out.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from models import torchscript
from models.artifact import read_artifact
from models.golden import GoldenSamples, save_golden
from models.manifest import (
    GOLDEN_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    Calibration,
    FileEntry,
    Golden,
    InputSpec,
    Label,
    Manifest,
    Metrics,
)
from models.repository import ModelRepository, Seal

TINY_NAME = "tiny"
TINY_SIDE = 16
TINY_LABELS = ("red", "green", "blue")
_GOLDEN_COUNT = 6


class TinyBody(nn.Module):
    """Three channels to three logits, in whatever dtype it is cast to."""

    def __init__(self, copies: int) -> None:
        super().__init__()
        self.copies = copies
        self.convolution = nn.Conv2d(3, 3, kernel_size=1, bias=False)
        nn.init.dirac_(self.convolution.weight)

    @torch.jit.export
    def features(self, x: Tensor) -> Tensor:
        return self.convolution(x.to(self.convolution.weight.dtype))

    @torch.jit.export
    def head(self, features: Tensor) -> Tensor:
        logits = features.mean(dim=(2, 3)).float() * 8.0
        if self.copies == 1:
            return logits
        later = torch.arange(self.copies, device=logits.device).reshape(1, -1, 1) * 1e-3
        return (logits.unsqueeze(1) - later).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class TinyModel(nn.Module):
    """uint8 [b, 3, h, w] to logits, float32 [b, 3 * copies], a little less in each copy."""

    def __init__(self, copies: int = 1) -> None:
        super().__init__()
        self.body = TinyBody(copies)

    @torch.jit.export
    def features(self, images: Tensor) -> Tensor:
        return self.body.features(images.float() / 255.0)

    @torch.jit.export
    def head(self, features: Tensor) -> Tensor:
        return self.body.head(features)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def tiny_input(side: int = TINY_SIDE) -> InputSpec:
    """What a tiny artifact of ``side`` pixels looks at."""
    return InputSpec(height=side, width=side, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def write_tiny_files(
    folder: Path,
    *,
    name: str = TINY_NAME,
    module: nn.Module | None = None,
    side: int = TINY_SIDE,
    **changes: object,
) -> Seal:
    """Write every file but the manifest; returns what makes the manifest.

    It fits ``ModelRepository.publish`` as its ``build``. The input has ``side`` pixels;
    ``changes`` replace fields of the manifest, ``module`` the network.
    """
    changes = {"input": tiny_input(side), **changes}
    contents = _usual_contents(side) if module is None else _contents(module, side)
    for file_name, content in contents.items():
        (folder / file_name).write_bytes(content)
    files = {file_name: file_entry(content) for file_name, content in contents.items()}
    return lambda version: tiny_manifest(files, name=name, version=version, **changes)


def write_tiny_artifact(
    root: Path, *, name: str = TINY_NAME, version: int = 1, **changes: object
) -> Path:
    """Write ``root/name/version`` as it stands, whole and unpublished; returns the folder."""
    folder = root / name / str(version)
    folder.mkdir(parents=True)
    write_manifest(folder, write_tiny_files(folder, name=name, **changes)(version))
    return folder


def publish_tiny_artifact(root: Path, *, name: str = TINY_NAME, **changes: object) -> int:
    """Publish one more version into the repository at ``root``; returns its number."""
    return ModelRepository(root).publish(
        name,
        lambda folder: write_tiny_files(folder, name=name, **changes),
        lambda folder: read_artifact(folder, staged=True),
    )


def tiny_manifest(
    files: dict[str, FileEntry], *, name: str = TINY_NAME, version: int = 1, **changes: object
) -> Manifest:
    """The tiny artifact's manifest; ``changes`` replace fields of it."""
    fields = {
        "name": name,
        "version": version,
        "created": datetime(2025, 1, 1, tzinfo=UTC),
        "labels": tuple(Label(id=label, display_name=label.title()) for label in TINY_LABELS),
        "input": tiny_input(),
        "network": "tiny",
        "parameters": 9,
        "metrics": Metrics(
            images=3,
            accuracy=1.0,
            accuracy_low=0.4,
            accuracy_high=1.0,
            log_loss=0.1,
            expected_calibration_error=0.1,
        ),
        "calibration": Calibration(),
        "golden": Golden(
            samples=_GOLDEN_COUNT, score_tolerance_fp32=1e-5, score_tolerance_bf16=0.05
        ),
        "data_fingerprint": hashlib.sha256(b"no images").hexdigest(),
        "recipe": {},
        "libraries": {"torch": torch.__version__},
        "files": files,
    }
    return Manifest(**{**fields, **changes})


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest`` into ``folder``, whatever it says."""
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")


def file_entry(content: bytes) -> FileEntry:
    """What a manifest says of a file."""
    return FileEntry(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def coloured(label: str, side: int = TINY_SIDE) -> Tensor:
    """An image that the tiny artifact takes for ``label``: uint8 [3, side, side]."""
    image = torch.full((3, side, side), 40, dtype=torch.uint8)
    image[TINY_LABELS.index(label)] = 220
    return image


@cache
def _usual_contents(side: int) -> Mapping[str, bytes]:
    return _contents(TinyModel(), side)


def _contents(module: nn.Module, side: int) -> Mapping[str, bytes]:
    """The model's file and the golden samples', by name."""
    scripted, inputs = torchscript.script(module.eval()), _golden_inputs(side)
    with torch.inference_mode():
        samples = GoldenSamples(inputs, scripted(inputs).clone())
    return {MODEL_NAME: torchscript.save(scripted), GOLDEN_NAME: save_golden(samples)}


def _golden_inputs(side: int) -> Tensor:
    plain = [coloured(label, side) for label in TINY_LABELS]
    striped = [torch.where(torch.arange(side) % 2 == 0, image, 10) for image in plain]
    return torch.stack(plain + striped).to(torch.uint8)
