"""Photos in folders named after a model's labels."""

from pathlib import Path

from models.manifest import Manifest
from trainer.recipe import parse_recipe

BATCH = 8


def labelled_photos(root: Path, manifest: Manifest) -> list[tuple[Path, int]]:
    """Each photo with the number of its label: the folder's, by the model's recipe.

    Raises:
        SystemExit: There are no folders, or one is no label's.
    """
    specs = parse_recipe(manifest.recipe, manifest.name).labels
    numbers = {label.id: number for number, label in enumerate(manifest.labels)}
    found = []
    for path in sorted(root.glob("*/*")):
        name = path.parent.name
        label = specs[name].id if name in specs else name
        if label not in numbers:
            raise SystemExit(f"{path.parent} is no label of {manifest.name}")
        found.append((path, numbers[label]))
    if not found:
        raise SystemExit(f"{root} has no folders of photos")
    return found
