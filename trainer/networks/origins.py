"""What given weights were trained as: a run's or a version's own recipe.

Imports no network: a recipe is read before torch is worth its seconds.
"""

import json
from pathlib import Path

from models.manifest import MANIFEST_NAME
from trainer.errors import WeightsError


def is_version(path: Path) -> bool:
    """Whether ``path`` is the folder of a published version."""
    return (path / MANIFEST_NAME).is_file()


def recipe_of_origin(path: Path) -> dict[str, object]:
    """The resolved recipe of the run, or of the published version, in the folder ``path``.

    Raises:
        WeightsError: The folder is neither.
    """
    try:
        if is_version(path):
            recipe = json.loads((path / MANIFEST_NAME).read_text(encoding="utf-8"))["recipe"]
        else:
            recipe = json.loads((path / "recipe.json").read_text(encoding="utf-8"))
        return dict(recipe)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is neither a run nor a published version") from error
