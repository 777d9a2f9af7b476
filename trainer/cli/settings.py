"""Which recipe a command works by: one that was named, one chosen from the photos, a version's."""

from pathlib import Path

from models.manifest import read_manifest
from trainer.errors import RecipeError
from trainer.recipe import Recipe, load_recipe, override, parse_recipe


def settings_of(
    reference: str | None,
    data: Path | None,
    weights: str | None,
    overrides: list[str],
    cache: Path | None,
) -> tuple[Recipe, Path | None]:
    """The recipe, and its photos: a folder where the recipe was chosen by them."""
    if reference is not None:
        chosen = [] if weights is None else [f"network.weights={weights}"]
        return load_recipe(reference, [*overrides, *chosen]), data
    if data is None:
        raise RecipeError("give a recipe, or --data DIR to train by the defaults")
    from trainer.data import default_cache, resolve_data
    from trainer.default_recipe import ANY_FOLDERS, default_recipe

    root = resolve_data(data, ANY_FOLDERS, cache or default_cache())
    # An archive's name, not that of the folder in the cache it is unpacked to.
    title = data.name.partition(".")[0] if data.is_file() else ""
    document = default_recipe(root, weights or "none", title).model_dump(mode="json")
    return parse_recipe(override(document, overrides), "the default recipe"), root


def settings_of_version(version: Path, overrides: list[str]) -> Recipe:
    """The recipe of a published version, starting from its weights."""
    document = {**read_manifest(version).recipe}
    return parse_recipe(
        override(document, [f"network.weights={version.resolve()}", *overrides]), str(version)
    )
