"""How many planted wrong labels the audit finds: ``python -m benchmarks.label_audit --data DIR``.

DIR holds class folders. They are linked into a temporary folder with a share of the labels
flipped; recall and precision are of the photos that the audit calls mislabelled, and of those
among them that it advises to leave out.
"""

import argparse
import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from trainer.audit import audit
from trainer.audit.findings import Problem
from trainer.audit.recipe import audit_recipe
from trainer.data import class_photos
from trainer.run import environment


def plant(source: Path, target: Path, noise: float, seed: int) -> set[str]:
    """Link the photos of ``source`` into ``target`` with wrong labels; return their names."""
    photos = class_photos(source)
    classes = sorted({path.parent.name for path in photos})
    chosen = set(random.Random(seed).sample(range(len(photos)), round(noise * len(photos))))
    names = set()
    for index, path in enumerate(photos):
        label = path.parent.name
        name = f"{label}-{path.name}"
        if index in chosen:
            label = random.Random(f"{seed}-{index}").choice([c for c in classes if c != label])
            names.add(name)
        (target / label).mkdir(exist_ok=True)
        (target / label / name).symlink_to(path.resolve())
    return names


def main() -> None:
    """Plant, audit, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--noise", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--weights", default="none")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        root = Path(folder) / "photos"
        root.mkdir()
        planted = plant(options.data, root, options.noise, options.seed)
        began = time.perf_counter()
        recipe = audit_recipe(root, options.weights, options.epochs)
        result = audit(recipe, root, Path(folder) / "audit", None, options.folds)
        seconds = time.perf_counter() - began
    named = [finding for finding in result.findings if finding.problem is Problem.MISLABELLED]
    print(" ".join(f"{name} {version}" for name, version in environment().items()))
    print(
        f"{result.photos} photos, {options.folds} folds of {recipe.fit.epochs} epochs at"
        f" {recipe.input.height} px, {seconds:.0f} s; planted: {len(planted)}"
    )
    for title, chosen in {
        "mislabelled": named,
        f"the first {len(planted)}": named[: len(planted)],
        "in exclude.csv": [finding for finding in named if finding.exclude],
    }.items():
        right = sum(finding.path.name in planted for finding in chosen)
        print(
            f"{title}: {len(chosen)}, recall {right / len(planted):.3f},"
            f" precision {right / max(1, len(chosen)):.3f}"
        )


if __name__ == "__main__":
    main()
