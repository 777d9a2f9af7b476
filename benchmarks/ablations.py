"""What each of ResNet9's tricks is worth: ``python -m benchmarks.ablations --data DIR``.

The recipe animals10-resnet9 is trained as it is, without each of its tricks, and with some that
it does not have, on the same photos and from the same seeds. ``--photos-of animals-small`` takes
the animals among Tiny ImageNet's classes, a stand-in where Animals-10 is not at hand. A row for
each run goes to ``--results``, a file of JSON lines; what stands there already is not run again,
and ``--seeds 0`` prints its table alone.
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from trainer.data import default_cache, resolve_data
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


def recipe_of(photos_of: str, overrides: Sequence[str]) -> Recipe:
    """ResNet9's recipe for the classes of the recipe ``photos_of``."""
    document = load_recipe(_RECIPE).model_dump(mode="json")
    document["labels"] = load_recipe(photos_of).model_dump(mode="json")["labels"]
    return parse_recipe(override(document, overrides), "the ablation's recipe")


def measured(recipe: Recipe, data: Path, cache: Path) -> dict[str, float]:
    """Train and score once."""
    with TemporaryDirectory() as runs:
        run = fit(recipe, resolve_data(data, recipe.data, cache), Path(runs), cache=cache)
        evaluation = score(run, None, cache).evaluation()
        return {
            "images": evaluation.images,
            "trained_on": run.data().train_images,
            "accuracy": evaluation.accuracy,
            "log_loss": evaluation.log_loss,
        }


def print_table(rows: Sequence[dict[str, object]]) -> None:
    """Accuracy of each seed, and the difference from the recipe, seed by seed."""
    accuracies: dict[str, dict[int, float]] = {}
    for row in rows:
        accuracies.setdefault(str(row["change"]), {})[int(str(row["seed"]))] = float(
            str(row["accuracy"])
        )
    reference = accuracies[_AS_IT_IS]
    print("| | accuracy by seed | mean | against the recipe, by seed (points) | mean |")
    print("|---|---|---|---|---|")
    for change, by_seed in accuracies.items():
        gains = [by_seed[seed] - reference[seed] for seed in by_seed if seed in reference]
        print(
            f"| {change} | {', '.join(f'{value:.1%}' for value in by_seed.values())}"
            f" | {statistics.mean(by_seed.values()):.1%}"
            f" | {', '.join(f'{gain * 100:+.1f}' for gain in gains)}"
            f" | {statistics.mean(gains) * 100:+.1f} |"
        )


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos-of", default=_RECIPE, metavar="RECIPE")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("ablations.jsonl"))
    options = parser.parse_args()
    known = options.results.read_text().splitlines() if options.results.is_file() else []
    rows = [json.loads(line) for line in known]
    done = {(row["change"], row["seed"]) for row in rows}
    for seed in range(options.seeds):
        for change, overrides in CHANGES.items():
            if (change, seed) in done:
                continue
            recipe = recipe_of(
                options.photos_of, [*options.overrides, *overrides, f"fit.seed={seed}"]
            )
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


if __name__ == "__main__":
    main()
