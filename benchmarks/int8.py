"""What int8 gives over bf16: ``python -m benchmarks.int8 --data DIR``.

The bundled model's twin is quantised after training (PT2E with inductor's quantizer for x86),
calibrated on training photos, and compiled by AOTInductor as the server compiles it in bf16.
Both answer the same held-out photos, then run by turns on one thread. It needs torchao, which
is no dependency of the project: ``pip install torchao``.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, fx

from benchmarks.processes import ROOT
from models.artifact import Artifact
from models.image_header import ImageLimits
from models.manifest import InputSpec
from models.preprocess import preprocess
from models.repository import ModelRepository
from server.pipeline.lowering import cast_body

SIZES = (1, 8)
_LABELS = ("cats", "dogs")  # folders, in the order of the model's labels
_CALIBRATION = 64  # photos of each
_IMAGES_A_RUN = 16

Forward = Callable[[Tensor], Tensor]


def quantised(artifact: Artifact, photos: Tensor) -> fx.GraphModule:
    """The twin in int8 where inductor has kernels for it, calibrated on ``photos``."""
    try:
        from torchao.quantization.pt2e import quantize_pt2e  # noqa: PLC0415 - needed here alone
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer  # noqa: PLC0415
    except ImportError as error:
        raise SystemExit("int8 needs torchao: pip install torchao") from error
    dynamic = ({0: torch.export.Dim("batch", min=1, max=1024)},)
    module = cast_body(_program(artifact), torch.float32)
    program = torch.export.export(module, (photos[:2],), dynamic_shapes=dynamic)
    quantizer = x86_inductor_quantizer.X86InductorQuantizer()
    quantizer.set_global(x86_inductor_quantizer.get_default_x86_inductor_quantization_config())
    prepared = quantize_pt2e.prepare_pt2e(program.module(check_guards=False), quantizer)
    for part in photos.split(_IMAGES_A_RUN):
        prepared(part)
    converted: fx.GraphModule = quantize_pt2e.convert_pt2e(prepared)
    return converted


def compiled(module: fx.GraphModule, images: Tensor, package: Path) -> Forward:
    """``module`` for batches like ``images``, from uint8 [b, 3, h, w] to logits [b, classes].

    int8 kernels are called back by torch's own loader, so both use it here.
    """
    options = {"freezing": True, "cpp.threads": 1, "compile_threads": 1}
    program = torch.export.export(module, (images,))
    torch._inductor.aoti_compile_and_package(
        program, package_path=str(package), inductor_configs=options
    )
    return torch._inductor.aoti_load_package(str(package))


def main() -> None:
    """Compare accuracy and speed; print them."""
    arguments = _arguments()
    torch.set_num_threads(1)
    zoo = ModelRepository(ROOT / "models" / "zoo")
    artifact = zoo.read("cats-vs-dogs", zoo.versions("cats-vs-dogs")[-1])
    spec = artifact.manifest.input
    calibration, _ = _photos(arguments.data / "train", spec, _CALIBRATION)
    photos, labels = _photos(arguments.data / "validation", spec, None)
    print(
        f"torch {torch.__version__}, {len(calibration)} photos to calibrate, {len(photos)} to test"
    )
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        engines = {
            (name, size): compiled(make(), photos[:size], Path(folder) / f"{name}-{size}.pt2")
            for size in SIZES
            for name, make in {
                "bf16": lambda: cast_body(_program(artifact), torch.bfloat16),
                "int8": lambda: quantised(artifact, calibration),
            }.items()
        }
        temperature = artifact.manifest.calibration.temperature
        _compare_scores(engines, photos, labels, temperature)
        _compare_speed(engines, photos, arguments.rounds)


def _program(artifact: Artifact) -> torch.export.ExportedProgram:
    program = artifact.exported_program()
    if program is None:
        raise SystemExit("the bundled model has no twin")
    return program


def _photos(root: Path, spec: InputSpec, count: int | None) -> tuple[Tensor, Tensor]:
    files = [
        (path, label)
        for label, name in enumerate(_LABELS)
        for path in sorted((root / name).glob("*.jpg"))[:count]
    ]
    images = [preprocess(path.read_bytes(), spec, ImageLimits()) for path, _ in files]
    return torch.stack(images), torch.tensor([label for _, label in files])


def _compare_scores(
    engines: dict[tuple[str, int], Forward], photos: Tensor, labels: Tensor, temperature: float
) -> None:
    size = max(SIZES)
    whole = len(photos) // size * size
    scores = {
        name: torch.cat(
            [
                torch.softmax(engines[name, size](part).float() / temperature, dim=1)
                for part in photos[:whole].split(size)
            ]
        )
        for name in ("bf16", "int8")
    }
    for name, found in scores.items():
        accuracy = float((found.argmax(dim=1) == labels[:whole]).float().mean())
        own = found.gather(1, labels[:whole, None]).clamp_min(1e-9)
        print(f"{name}: accuracy {accuracy:.3f}, log loss {float(-own.log().mean()):.4f}")
    changed = int((scores["int8"].argmax(dim=1) != scores["bf16"].argmax(dim=1)).sum())
    off = float((scores["int8"] - scores["bf16"]).abs().max())
    print(f"int8 gives {changed} other labels; scores are off by {off:.3f} at most")


def _compare_speed(engines: dict[tuple[str, int], Forward], photos: Tensor, rounds: int) -> None:
    for size in SIZES:
        images, ratios, rates = photos[:size], [], []
        for turn in range(rounds + 1):
            one, other = (_rate(engines[name, size], images) for name in ("bf16", "int8"))
            if turn > 0:  # the first warms up
                ratios.append(other / one)
                rates.append((one, other))
        bf16, int8 = (statistics.median(column) for column in zip(*rates, strict=True))
        print(
            f"batches of {size}: bf16 {bf16:.0f}, int8 {int8:.0f} images/s, {_spread(ratios)} times"
        )


def _rate(forward: Forward, images: Tensor) -> float:
    runs = _IMAGES_A_RUN // len(images)
    forward(images)
    began = time.thread_time()
    for _ in range(runs):
        forward(images)
    return runs * len(images) / (time.thread_time() - began)


def _spread(ratios: Iterable[float]) -> str:
    ratios = sorted(ratios)
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="holds train/ and validation/")
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args()


if __name__ == "__main__":
    main()
