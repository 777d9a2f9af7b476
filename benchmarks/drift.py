"""Does the drift watch cry wolf, and see what it should? ``python -m benchmarks.drift --data DIR``

The figures of real test photos, as the served engine gives them, stand for traffic. A year at
10 requests a second is 315,360 windows of 1,000: they are drawn from the test photos, and from
distributions that the artifact's reference could be a sample of. Streams of grey, dark and
cropped photos then go through the watch itself until it warns.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.image_header import ImageLimits
from models.image_statistics import ImageStatistics, image_statistics
from models.preprocess import preprocess
from models.repository import ModelRepository
from server.pipeline.engine import Work
from server.pipeline.torchscript import TorchScriptEngine
from server.telemetry.model_health import WINDOW, ModelHealth, Signal
from trainer.corruptions import corruptions

ZOO = Path("models/zoo")
WINDOWS_A_YEAR = 365 * 86400 * 10 // WINDOW
STREAMS = {"grey": 0, "dark": 0, "crop": 1}  # and how strong: 0 mild, 1 strong
Figures = dict[str, float]


def main() -> None:
    """Print a line for each simulation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="class folders of test photos")
    parser.add_argument("--model", default="cats-vs-dogs")
    parser.add_argument("--worlds", type=int, default=20)
    arguments = parser.parse_args()
    repository = ModelRepository(ZOO)
    artifact = repository.read(arguments.model, repository.versions(arguments.model)[-1])
    reference = artifact.manifest.reference
    if reference is None:
        raise SystemExit("the artifact has no reference")
    paths = sorted(arguments.data.rglob("*.jpg"))
    spec = artifact.manifest.input
    images = torch.stack([preprocess(path.read_bytes(), spec, ImageLimits()) for path in paths])
    engine = TorchScriptEngine(artifact, torch.device("cpu"), "auto")
    health = ModelHealth(reference)
    sizes = [path.stat().st_size for path in paths]
    test = _figures(engine, images, sizes)
    rng = np.random.default_rng(0)
    for name, signal in health.signals.items():
        real = _alarms(signal, _shares(signal, [one[name] for one in test]), rng)
        pseudo_counts = np.array(signal.expected) * reference.images
        worlds = [
            _alarms(signal, rng.dirichlet(pseudo_counts), rng) for _ in range(arguments.worlds)
        ]
        line = {
            "signal": name,
            "threshold": round(signal.threshold, 3),
            "bins": len(signal.expected),
        }
        print(json.dumps({**line, "year_of_test_photos": real, "years_of_worlds": sum(worlds)}))
    for name, strength in STREAMS.items():
        figures = _figures(engine, corruptions()[name][strength](images), sizes)
        print(
            json.dumps(
                {"stream": name, **_until_warned(ModelHealth(reference), test, figures, rng)}
            )
        )


def _figures(engine: TorchScriptEngine, images: Tensor, sizes: list[int]) -> list[Figures]:
    figures: list[Figures] = []
    for batch in images.split(16):
        for image, scores in zip(batch, engine.run([Work(one, 1) for one in batch]), strict=True):
            if isinstance(scores, Exception):
                raise scores
            seen = image_statistics(image)
            figures.append(
                {
                    "labels": scores.indices[0],
                    "best_score": scores.values[0],
                    "novelty": scores.novelty or 0.0,
                    "brightness": seen.brightness,
                    "contrast": seen.contrast,
                    "saturation": seen.saturation,
                    "detail": seen.detail,
                    "image_bytes": sizes[len(figures)],
                }
            )
    return figures


def _shares(signal: Signal, values: list[float]) -> np.ndarray:
    bins = np.searchsorted(signal.inner_edges, values, side="right")
    return np.bincount(bins, minlength=len(signal.expected)) / len(values)


def _alarms(signal: Signal, shares: np.ndarray, rng: np.random.Generator) -> int:
    """Windows of a year above the threshold."""
    counts = rng.multinomial(WINDOW, shares, size=WINDOWS_A_YEAR)
    expected = np.array(signal.expected)
    found = (counts + 0.5) / (WINDOW + len(expected) / 2)
    indices = ((found - expected) * np.log(found / expected)).sum(axis=1)
    return int((indices > signal.threshold).sum())


def _until_warned(
    health: ModelHealth, before: list[Figures], after: list[Figures], rng: np.random.Generator
) -> dict[str, object]:
    """A stream that changes in the middle of a window, the worst place for it."""
    drawn = [before[index] for index in rng.integers(len(before), size=WINDOW + WINDOW // 2)]
    drawn += [after[index] for index in rng.integers(len(after), size=2 * WINDOW)]
    for place, one in enumerate(drawn):
        alarms = _observe(health, one)
        if alarms:
            return {"requests": place + 1 - WINDOW - WINDOW // 2, "signals": alarms}
    return {"requests": None}


def _observe(health: ModelHealth, one: Figures) -> list[str]:
    statistics = ImageStatistics(
        one["brightness"], one["contrast"], one["saturation"], one["detail"]
    )
    label, size = int(one["labels"]), int(one["image_bytes"])
    return health.observe(label, one["best_score"], statistics, one["novelty"], size)


if __name__ == "__main__":
    main()
