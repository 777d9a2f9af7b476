"""Do prediction sets hold the true label as often as they promise?
``python -m benchmarks.coverage --data DIR``

One calibration and one test tell little: with n photos to calibrate with and m to test on, how many
sets hold the true label is a beta-binomial matter (Vovk, "Conditional validity of inductive
conformal predictors", 2012), whose interval is printed beside the artifact's own figure. The
held-out photos are then split anew, many times, and calibrated anew, temperature included: the mean
over the splits says whether the method itself covers too much or too little.
"""

import argparse
import json
import statistics
from pathlib import Path

import torch
from scipy.stats import betabinom
from torch import Tensor

from models.repository import ModelRepository
from trainer.confidence import COVERAGES, calibrate, check_confidence, left_out
from trainer.data import default_cache
from trainer.recalibrate import held_out
from trainer.recipe import parse_recipe

ZOO = Path("models/zoo")


def main() -> None:
    """Print a line for each coverage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the photos it was trained on")
    parser.add_argument("--model", default="cats-vs-dogs")
    parser.add_argument("--splits", type=int, default=1000)
    options = parser.parse_args()
    repository = ModelRepository(ZOO)
    artifact = repository.read(options.model, repository.versions(options.model)[-1])
    recipe = parse_recipe(artifact.manifest.recipe, options.model)
    validation, test = held_out(artifact, recipe, options.data, default_cache())
    once = check_confidence(artifact.manifest.calibration, test.logits, test.images.labels)
    logits = torch.cat([validation.logits, test.logits])
    labels = torch.cat([validation.images.labels, test.images.labels])
    calibrating, testing = len(validation.logits), len(test.logits)
    found = split_again(logits, labels, calibrating, options.splits)
    for sets in once.sets:
        mean = statistics.mean(found[sets.asked])
        deviation = statistics.stdev(found[sets.asked])
        half = 1.96 * deviation / options.splits**0.5
        line = {
            "asked": sets.asked,
            "once": sets.coverage,
            "once_by_chance": by_chance(sets.asked, calibrating, testing),
            "splits": options.splits,
            "mean": round(mean, 4),
            "mean_interval": [round(mean - half, 4), round(mean + half, 4)],
            "deviation": round(deviation, 4),
        }
        print(json.dumps(line))


def by_chance(coverage: float, calibrating: int, testing: int) -> list[float]:
    """Between which shares 95% of the tests end when all photos are of one kind."""
    out = left_out(calibrating, coverage)
    covered = betabinom(testing, calibrating + 1 - out, out)
    return [float(covered.ppf(end)) / testing for end in (0.025, 0.975)]


def split_again(
    logits: Tensor, labels: Tensor, calibrating: int, splits: int
) -> dict[float, list[float]]:
    """The coverage of the rest after calibrating on ``calibrating`` photos drawn at random.

    Args:
        logits: float32 [n, classes].
        labels: int64 [n].
        calibrating: How many photos calibrate.
        splits: How often.
    """
    chance = torch.Generator().manual_seed(0)
    found: dict[float, list[float]] = {coverage: [] for coverage in COVERAGES}
    for _ in range(splits):
        order = torch.randperm(len(labels), generator=chance)
        ours, rest = order[:calibrating], order[calibrating:]
        calibration = calibrate(logits[ours], labels[ours], risk=0.0)
        for sets in check_confidence(calibration, logits[rest], labels[rest]).sets:
            found[sets.asked].append(sets.coverage)
    return found


if __name__ == "__main__":
    main()
