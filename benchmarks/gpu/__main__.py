"""ResNet-50 in bf16 at 224 on a GPU: engines alone, and served: ``python -m benchmarks.gpu``.

Engines alone run on images that lie on the device, by turns: eager, TorchScript, AOTInductor and
the captured graphs that serve. Then the graphs from the host's memory, on the server's lanes: what
serving can reach at most. Then servers of one front and of several, asked for JPEG files in calls
and streams, and for raw tensors. Without a CUDA device it says so and measures nothing.
"""

import argparse
import json
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks import artifact
from benchmarks.gpu.engines import Forward, Rate, compiled, eager, rates, staged
from benchmarks.gpu.report import Results, tables
from benchmarks.gpu.served import Load, Served, measure
from benchmarks.networks import torchvision_resnet
from benchmarks.photos import SMALL, write_photos
from models.repository import ModelRepository
from server.pipeline.cores import usable_cores
from server.pipeline.cuda import CudaEngine
from server.pipeline.torchscript import TorchScriptEngine

NOT_MEASURED = "no CUDA device: not measured"
NAME, SIDE = "resnet50", 224
_LANES = 2
_PHOTOS = 64


def main() -> int:
    """Measure, print tables, write JSON."""
    options = _arguments()
    if not torch.cuda.is_available():
        print(NOT_MEASURED)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        photos = write_photos(root / "photos", SMALL, _PHOTOS)
        repository = root / "models"
        repository.mkdir()
        files = [path.read_bytes() for path in photos[:8]]
        artifact.publish(repository, NAME, torchvision_resnet(NAME), SIDE, files)
        alone, limit = _engines(repository, root, options)
        found = _served(repository, root / "photos", options)
        results = Results(_machine(), alone, limit, found)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(asdict(results), indent=1) + "\n")
    print("\n".join(tables(results)))
    return 0


def _engines(
    repository: Path, root: Path, options: argparse.Namespace
) -> tuple[dict[int, dict[str, Rate | str]], dict[int, float]]:
    device, largest = torch.device("cuda"), max(options.sizes)
    read = ModelRepository(repository).read(NAME, 1)
    scripted = TorchScriptEngine(read, device, "bf16")
    graphs = CudaEngine(scripted, largest, _LANES)
    plain = eager(torchvision_resnet(NAME), device, torch.bfloat16)
    alone: dict[int, dict[str, Rate | str]] = {}
    for size in options.sizes:
        images = torch.zeros((size, 3, SIDE, SIDE), dtype=torch.uint8, device=device)
        contenders: dict[str, Forward] = {
            "eager": plain,
            "TorchScript": lambda pixels: scripted.features_and_logits(pixels)[1],
            "CUDA graphs": graphs.scores,
        }
        try:
            contenders["AOTInductor"] = compiled(plain, images, root / f"{size}.pt2")
        except Exception as error:  # inductor raises many kinds; the others count all the same
            print(f"AOTInductor at {size}: {error}", file=sys.stderr)
        alone[size] = rates(contenders, images, options.rounds)
    image = torch.zeros((3, SIDE, SIDE), dtype=torch.uint8)
    return alone, {
        size: staged(graphs, image, size, _LANES, options.seconds) for size in options.sizes
    }


def _served(
    repository: Path, photos: Path, options: argparse.Namespace
) -> dict[str, dict[str, Served]]:
    load = Load(photos, SIDE, options.processes, options.in_flight, options.seconds)
    size = max(options.sizes)
    flags = ["--device", "cuda", "--precision", "bf16", "--max-batch-size", str(size)]
    flags += ["--log-request-share", "0"]
    servers = {f"{fronts}": ["--fronts", str(fronts)] for fronts in options.fronts}
    servers["1, nvJPEG"] = ["--gpu-decode"]
    return {name: measure(repository, [*flags, *more], load) for name, more in servers.items()}


def _machine() -> str:
    return (
        f"{torch.cuda.get_device_name()}, {usable_cores()} cores, torch {torch.__version__},"
        f" CUDA {torch.version.cuda}, Python {platform.python_version()}"
    )


def _arguments() -> argparse.Namespace:
    cores = usable_cores()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/plots/gpu.json"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--fronts", type=int, nargs="+", default=sorted({1, 4, max(1, cores // 2)}))
    parser.add_argument("--processes", type=int, default=max(1, cores // 4), help="of the load")
    parser.add_argument("--in-flight", type=int, default=64, help="of each of them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
