"""What each trick of a recipe is worth: ``python -m benchmarks.ablations --data DIR``.

The recipe animals10-resnet9 is trained as it is, without each of its tricks, and with some that
it does not have, on the same photos and from the same seeds. ``--recipe`` takes another one, and
``--change "TITLE: KEY=VALUE KEY=VALUE"`` other changes than these; ``--only "the recipe"`` is its
spread over seeds. ``--photos-of animals-small`` takes the animals among Tiny ImageNet's classes,
a stand-in where Animals-10 is not at hand. A row for each run goes to ``--results``, a file of
JSON lines; what stands there already is not run again, and ``--seeds 0`` prints its table alone.
"""

import argparse
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trainer.data import default_cache, resolve_data
from trainer.evaluate import Z_95
from trainer.fit import fit
from trainer.recipe import Recipe, load_recipe, override, parse_recipe
from trainer.run import environment
from trainer.score import score

_RECIPE = "animals10-resnet9"
_AS_IT_IS = "the recipe"
_NEVER = 10_000

CHANGES: Mapping[str, Sequence[str]] = {
    _AS_IT_IS: (),
    "a constant rate of 1e-3, not one-cycle": (
        "fit.schedule=plateau",
        f"fit.plateau_patience={_NEVER}",
        "fit.max_learning_rate=1e-3",
    ),
    "no clipping": ("fit.gradient_clip_value=0.0",),
    "no weight decay": ("fit.weight_decay=0.0",),
    "no random crops": ("augment.crop_scale=[1.0,1.0]",),
    "no flips": ("augment.flip=false",),
    "no TrivialAugment": ("augment.trivial=false",),
    "no augmentation at all": (
        "augment.crop_scale=[1.0,1.0]",
        "augment.flip=false",
        "augment.trivial=false",
    ),
    "no averaging of weights": ("fit.ema_decay=0.0",),
    "no dropout": ("network.dropout=0.0",),
    "with label smoothing of 0.1": ("fit.label_smoothing=0.1",),
    "with CutMix, but for the last 2 epochs": (
        "augment.cutmix_alpha=1.0",
        "augment.clean_epochs=2",
    ),
}


def changes_of(texts: Sequence[str]) -> dict[str, Sequence[str]]:
    """The recipe as it is, and the changes given as ``TITLE: KEY=VALUE KEY=VALUE``."""
    parts = [text.partition(":") for text in texts]
    return {_AS_IT_IS: ()} | {title.strip(): keys.split() for title, _, keys in parts}


def recipe_of(recipe: str, photos_of: str, overrides: Sequence[str]) -> Recipe:
    """A recipe for the classes of the recipe ``photos_of``."""
    document = load_recipe(recipe).model_dump(mode="json")
    document["labels"] = load_recipe(photos_of).model_dump(mode="json")["labels"]
    return parse_recipe(override(document, overrides), "the ablation's recipe")


def measured(recipe: Recipe, data: Path, cache: Path) -> dict[str, object]:
    """Train and score once; ``right`` has a digit for each test photo."""
    with TemporaryDirectory() as runs:
        run = fit(recipe, resolve_data(data, recipe.data, cache), Path(runs), cache=cache)
        scored = score(run, None, cache)
        right = scored.test.logits.argmax(dim=1) == scored.test.images.labels
        return {
            "images": scored.metrics.images,
            "trained_on": run.data().train_images,
            "parameters": sum(each.numel() for each in scored.module.parameters()),
            "accuracy": scored.metrics.accuracy,
            "log_loss": scored.metrics.log_loss,
            "right": "".join(str(int(each)) for each in right),
        }


def gain_of(rights: Sequence[str], references: Sequence[str]) -> tuple[float, float]:
    """Points gained and half of their 95% interval, from the same seeds' answers.

    Photos are what is drawn by chance: of each, the gain is the mean over the seeds.
    """
    pairs = zip(zip(*rights, strict=True), zip(*references, strict=True), strict=True)
    gains = [
        statistics.mean(int(digit) for digit in right) - statistics.mean(int(d) for d in reference)
        for right, reference in pairs
    ]
    error = statistics.stdev(gains) / math.sqrt(len(gains))
    return statistics.mean(gains) * 100, Z_95 * error * 100


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Accuracy of each seed, and what is gained on the recipe with the same seeds."""
    by_change: dict[str, dict[int, dict[str, Any]]] = {}
    for row in rows:
        by_change.setdefault(row["change"], {})[row["seed"]] = row
    reference = by_change.get(_AS_IT_IS, {})
    print("| | parameters | accuracy by seed | mean | log loss | points gained (95%) |")
    print("|---|---|---|---|---|---|")
    for change, by_seed in by_change.items():
        found = list(by_seed.values())
        accuracies = [row["accuracy"] for row in found]
        both = [seed for seed in by_seed if seed in reference and change != _AS_IT_IS]
        gain = ""
        if both:
            rights = [[part[seed]["right"] for seed in both] for part in (by_seed, reference)]
            points, half = gain_of(*rights)
            gain = f"{points:+.1f} ({points - half:+.1f} to {points + half:+.1f})"
        print(
            f"| {change} | {found[0]['parameters']:,}"
            f" | {', '.join(f'{each:.1%}' for each in accuracies)}"
            f" | {statistics.mean(accuracies):.1%}"
            f" | {statistics.mean(row['log_loss'] for row in found):.3f} | {gain} |"
        )


def main() -> None:
    """Train what is missing, then print the table."""
    options = _arguments()
    known = options.results.read_text().splitlines() if options.results.is_file() else []
    rows = [json.loads(line) for line in known]
    done = {(row["change"], row["seed"]) for row in rows}
    changes = changes_of(options.changes) if options.changes else CHANGES
    for seed, change in product(range(options.seeds), options.only or changes):
        if (change, seed) not in done:
            overrides = [*options.overrides, *changes[change], f"fit.seed={seed}"]
            recipe = recipe_of(options.recipe, options.photos_of or options.recipe, overrides)
            row = {
                "change": change,
                "seed": seed,
                **measured(recipe, options.data, default_cache()),
            }
            rows.append(row)
            with options.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
    print(" ".join(f"{name} {version}" for name, version in environment().items()))
    print(f"{rows[0]['trained_on']} photos trained on, {rows[0]['images']} tested on")
    print_table(rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipe", default=_RECIPE)
    parser.add_argument("--photos-of", metavar="RECIPE", help="default: the recipe")
    parser.add_argument("--change", dest="changes", action="append", help="instead of the tricks")
    parser.add_argument("--only", action="append", metavar="TITLE", help="of the changes")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("ablations.jsonl"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
