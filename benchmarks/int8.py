"""What int8 gives over bf16: ``python -m benchmarks.int8 --data DIR``.

The bundled model's twin, compiled in bf16 and in int8 as the server compiles it. Both answer the
same held-out photos, then run by turns on one thread.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.limits import compiled
from benchmarks.processes import ROOT
from models.image_header import ImageLimits
from models.manifest import InputSpec
from models.preprocess import preprocess
from models.repository import ModelRepository
from server.pipeline.compiled import CompiledEngine
from server.pipeline.engine import Scores, Work
from server.pipeline.torchscript import TorchScriptEngine

SIZES = (1, 2, 4, 8)
_LABELS = ("cats", "dogs")  # folders, in the order of the model's labels
_IMAGES_A_RUN = 16


def main() -> None:
    """Compare accuracy and speed; print them."""
    arguments = _arguments()
    torch.set_num_threads(1)
    zoo = ModelRepository(ROOT / "models" / "zoo")
    artifact = zoo.read("cats-vs-dogs", zoo.versions("cats-vs-dogs")[-1])
    if artifact.manifest.int8 is None:
        raise SystemExit("the bundled model does not offer int8")
    photos, labels = _photos(arguments.data / "validation", artifact.manifest.input)
    print(f"torch {torch.__version__}, {len(photos)} photos")
    with tempfile.TemporaryDirectory() as folder:
        scripted = TorchScriptEngine(artifact, torch.device("cpu"), "auto")
        engines = {
            name: compiled(artifact, scripted, Path(folder), max(SIZES), int8)
            for name, int8 in (("bf16", None), ("int8", artifact.manifest.int8))
        }
        _compare_scores(engines, photos, labels)
        _compare_speed(engines, photos, arguments.rounds)


def _photos(root: Path, spec: InputSpec) -> tuple[Tensor, Tensor]:
    files = [
        (path, label)
        for label, name in enumerate(_LABELS)
        for path in sorted((root / name).glob("*.jpg"))
    ]
    images = [preprocess(path.read_bytes(), spec, ImageLimits()) for path, _ in files]
    return torch.stack(images), torch.tensor([label for _, label in files])


def _compare_scores(engines: dict[str, CompiledEngine], photos: Tensor, labels: Tensor) -> None:
    scores = {name: _scores(engine, photos) for name, engine in engines.items()}
    for name, found in scores.items():
        accuracy = float((found.argmax(dim=1) == labels).float().mean())
        own = found.gather(1, labels[:, None]).clamp_min(1e-9)
        print(f"{name}: accuracy {accuracy:.3f}, log loss {float(-own.log().mean()):.4f}")
    changed = int((scores["int8"].argmax(dim=1) != scores["bf16"].argmax(dim=1)).sum())
    off = float((scores["int8"] - scores["bf16"]).abs().max())
    print(f"int8 gives {changed} other labels; scores are off by {off:.3f} at most")


def _scores(engine: CompiledEngine, photos: Tensor) -> Tensor:
    """float32 [n, classes]."""
    rows = []
    for part in photos.split(max(SIZES)):
        for answer in engine.run([Work(image, len(_LABELS)) for image in part]):
            if not isinstance(answer, Scores):
                raise answer
            rows.append(
                [score for _, score in sorted(zip(answer.indices, answer.values, strict=True))]
            )
    return torch.tensor(rows)


def _compare_speed(engines: dict[str, CompiledEngine], photos: Tensor, rounds: int) -> None:
    for size in SIZES:
        batch, ratios, rates = [Work(image, 1) for image in photos[:size]], [], []
        for turn in range(rounds + 1):
            one, other = (_rate(engines[name], batch) for name in ("bf16", "int8"))
            if turn > 0:  # the first warms up
                ratios.append(other / one)
                rates.append((one, other))
        bf16, int8 = (statistics.median(column) for column in zip(*rates, strict=True))
        print(
            f"batches of {size}: bf16 {bf16:.0f}, int8 {int8:.0f} images/s, {_spread(ratios)} times"
        )


def _rate(engine: CompiledEngine, batch: list[Work]) -> float:
    runs = _IMAGES_A_RUN // len(batch)
    engine.run(batch)
    began = time.thread_time()
    for _ in range(runs):
        engine.run(batch)
    return runs * len(batch) / (time.thread_time() - began)


def _spread(ratios: Iterable[float]) -> str:
    ratios = sorted(ratios)
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="holds validation/")
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args()


if __name__ == "__main__":
    main()
