"""Publish a network of a benchmark: ``python -m benchmarks.publish resnet18 FOLDER``.

A process of its own, so that what measures does not hold torch. "cats-vs-dogs" is the bundled model
as it is. FOLDER gets the repository and, beside it, what peers compile: the twin of the artifact in
the dtype that our own engines choose, exported again.
"""

import io
import shutil
import sys
from pathlib import Path

import torch

from benchmarks import artifact, networks
from benchmarks.photos import BUNDLED
from benchmarks.processes import ROOT
from models.manifest import CHANNELS
from models.repository import ModelRepository
from server.pipeline.lowering import cast_body
from server.pipeline.torchscript import computes_bf16

SIDE = 224
ZOO = ROOT / "models" / "zoo"
_LARGEST_BATCH = 1024


def main() -> None:
    """Publish torchvision's ResNet-18 or ResNet-50, or the bundled model."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    repository = folder / "repository"
    repository.mkdir(parents=True, exist_ok=True)
    if (ZOO / name).is_dir():
        shutil.copytree(ZOO / name, repository / name)
    else:
        photos = [path.read_bytes() for path in sorted(BUNDLED.glob("*.jpg"))]
        network = networks.torchvision_resnet("resnet50" if name == "resnet50" else "resnet18")
        artifact.publish(repository, name, network, SIDE, photos, with_twin=True)
    _write_program(ModelRepository(repository), name, folder / f"{name}.pt2")


def _write_program(repository: ModelRepository, name: str, file: Path) -> None:
    """Write the twin with its body in bf16 where the CPU has it, for batches of any size."""
    read = repository.read(name, repository.versions(name)[-1])
    if read.twin is None:
        raise SystemExit(f"{name} has no twin")
    dtype = torch.bfloat16 if computes_bf16(torch.device("cpu")) else torch.float32
    module = cast_body(torch.export.load(io.BytesIO(read.twin)), dtype)
    spec = read.manifest.input
    # Two images: a size of 1 would be taken for a constant.
    example = torch.zeros(2, CHANNELS, spec.height, spec.width, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)
    with torch.no_grad():
        program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, file)


if __name__ == "__main__":
    main()
