"""What looking again is worth and what it costs: ``python -m benchmarks.looks --data DIR``

The gain: labelled photos go through the served engine once, with their mirror image and in four
looks (`quality` of a request), averaged as the server does. It is paired: it comes from the photos
that only one of the two gets right. The cost: a server of its own answers the same photos with
each quality, in turns of a few dozen, so that a busy machine slows all alike.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from benchmarks.labelled import labelled_photos
from benchmarks.processes import serving
from client import Client
from models.artifact import Artifact
from models.image_header import ImageLimits
from models.preprocess import preprocess
from models.repository import ModelRepository
from server.pipeline.engine import Scores, Work
from server.pipeline.torchscript import TorchScriptEngine
from server.pipeline.views import Quality, averaged, views_of, works_of
from trainer.mcnemar import pair

ZOO = Path("models/zoo")
TURN = 40  # photos


def main() -> None:
    """Print a line for each quality."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="class folders of test photos")
    parser.add_argument("--model", default="cats-vs-dogs")
    parser.add_argument("--turns", type=int, default=8, help=f"of {TURN} photos, for the cost")
    options = parser.parse_args()
    repository = ModelRepository(ZOO)
    artifact = repository.read(options.model, repository.versions(options.model)[-1])
    photos = [
        (path.read_bytes(), place)
        for path, place in labelled_photos(options.data, artifact.manifest)
    ]
    right = _right(artifact, photos)
    costs = _costs(options.model, [photo for photo, _ in photos], options.turns)
    once = torch.tensor(right[Quality.ONCE])
    for quality in Quality:
        paired = pair(torch.tensor(right[quality]), once)
        line = {
            "quality": quality.value,
            "photos": len(photos),
            "accuracy": round(sum(right[quality]) / len(photos), 4),
            "gain": paired.difference,
            "gain_interval": [round(end, 4) for end in paired.interval],
            "only_this_right": paired.only_first,
            "only_once_right": paired.only_second,
            "p_different": round(paired.p_different, 3),
            "cost": round(statistics.median(costs[quality]), 2),
            "cost_quartiles": [round(end, 2) for end in statistics.quantiles(costs[quality], n=4)],
        }
        print(json.dumps(line))


def _right(artifact: Artifact, photos: list[tuple[bytes, int]]) -> dict[Quality, list[bool]]:
    """Whether the answer to each photo is right, by quality."""
    engine = TorchScriptEngine(artifact, torch.device("cpu"), "auto")
    labels, spec = len(artifact.manifest.labels), artifact.manifest.input
    right: dict[Quality, list[bool]] = {quality: [] for quality in Quality}
    for photo, truth in photos:
        work = Work(preprocess(photo, spec, ImageLimits()), 1)
        for quality in Quality:
            looks = engine.run(works_of(work, views_of(work.image, quality), labels))
            scores = averaged(work, [look for look in looks if isinstance(look, Scores)])
            right[quality].append(scores.indices[0] == truth)
    return right


def _costs(model: str, photos: list[bytes], turns: int) -> dict[Quality, list[float]]:
    """Seconds of a turn over those of looking once, by quality."""
    costs: dict[Quality, list[float]] = {quality: [] for quality in Quality}
    with serving(ZOO) as address, Client(address, timeout_s=300) as client:
        _seconds(client, model, photos[:TURN], Quality.CROPS)  # warms caches and connection
        for turn in range(turns):
            first = turn * TURN % max(1, len(photos) - TURN)
            chosen = photos[first : first + TURN]
            seconds = {each: _seconds(client, model, chosen, each) for each in Quality}
            for quality in Quality:
                costs[quality].append(seconds[quality] / seconds[Quality.ONCE])
    return costs


def _seconds(client: Client, model: str, photos: list[bytes], quality: Quality) -> float:
    began = time.perf_counter()
    for outcome in client.classify_many(enumerate(photos), model=model, quality=quality.value):
        outcome.result()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
