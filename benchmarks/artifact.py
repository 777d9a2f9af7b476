"""Networks with fresh weights as artifacts: speed does not depend on them."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from models import torchscript
from models.exported import open_twin
from models.golden import GoldenSamples, save_golden
from models.image_header import ImageLimits
from models.int8 import activation_ranges
from models.manifest import (
    GOLDEN_NAME,
    MODEL_NAME,
    TWIN_NAME,
    Calibration,
    FileEntry,
    Golden,
    InputSpec,
    Int8,
    Label,
    Manifest,
    Metrics,
    Reference,
)
from models.preprocess import preprocess
from models.repository import ModelRepository, Seal
from trainer.export import assemble, export
from trainer.logits import logits_of
from trainer.networks import Network
from trainer.normalize import Normalize
from trainer.twin import export_twin

_GOLDEN = 4
_TOLERANCE = 0.2
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def publish(
    root: Path,
    name: str,
    network: Network,
    side: int,
    photos: Sequence[bytes],
    *,
    with_twin: bool = False,
    reference: Reference | None = None,
) -> None:
    """Publish ``network`` as version 1 of the model ``name`` below ``root``.

    Args:
        root: A folder.
        name: The model.
        network: In eval mode.
        side: Of its input, pixels.
        photos: JPEG files for the golden samples.
        with_twin: Whether it can be compiled, and in int8.
        reference: What its traffic is compared with; None: it is not.
    """
    normalize = Normalize(_MEAN, _STD)
    module = export(normalize, network)
    spec = InputSpec(height=side, width=side, mean=_MEAN, std=_STD)

    def build(folder: Path) -> Seal:
        golden = _golden(module, photos, spec)
        (folder / MODEL_NAME).write_bytes(torchscript.save(module))
        (folder / GOLDEN_NAME).write_bytes(save_golden(golden))
        if with_twin:
            twin = export_twin(assemble(normalize, network), spec)
            (folder / TWIN_NAME).write_bytes(twin)
        classes = golden.logits.shape[1]
        parameters = sum(parameter.numel() for parameter in network.parameters())

        int8 = _int8(folder, golden) if with_twin else None

        def seal(version: int) -> Manifest:
            manifest = _manifest(name, version, folder, spec, classes, parameters)
            return manifest.model_copy(update={"reference": reference, "int8": int8})

        return seal

    ModelRepository(root).publish(name, build, lambda _folder: None)


def _int8(folder: Path, golden: GoldenSamples) -> Int8:
    """Of fresh weights, whose answers nobody can call right or wrong."""
    ranges = activation_ranges(open_twin((folder / TWIN_NAME).read_bytes()), [golden.inputs])
    return Int8(
        ranges=ranges,
        images=len(golden.inputs),
        accuracy=0.0,
        accuracy_fp32=0.0,
        log_loss=0.0,
        score_tolerance=_TOLERANCE,
    )


def _golden(module: torch.nn.Module, photos: Sequence[bytes], spec: InputSpec) -> GoldenSamples:
    inputs = torch.stack([preprocess(photo, spec, ImageLimits()) for photo in photos])
    logits = logits_of(module, inputs)
    best = logits.topk(2).values
    clearest = (best[:, 0] - best[:, 1]).argsort(descending=True)[:_GOLDEN]
    return GoldenSamples(inputs[clearest], logits[clearest])


def _manifest(
    name: str, version: int, folder: Path, spec: InputSpec, classes: int, parameters: int
) -> Manifest:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return Manifest(
        name=name,
        version=version,
        created=datetime.now(UTC),
        labels=tuple(Label(id=f"class-{n}", display_name=f"Class {n}") for n in range(classes)),
        input=spec,
        network=name,
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
        golden=Golden(samples=_GOLDEN, score_tolerance_fp32=1e-3, score_tolerance_bf16=_TOLERANCE),
        data_fingerprint=hashlib.sha256(b"").hexdigest(),
        recipe={},
        libraries={"torch": torch.__version__},
        files={
            name: FileEntry(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
            for name, data in files.items()
        },
    )
