"""From a file and ``--set`` to a recipe, with messages that name what is wrong."""

import json
import tomllib
from collections.abc import Sequence
from copy import deepcopy
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from trainer.errors import RecipeError
from trainer.recipe.recipe import Recipe


def bundled_recipes() -> dict[str, Path]:
    """The recipes that come with the trainer, by name."""
    folder = Path(str(resources.files("trainer.recipes")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_recipe(reference: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by the name of a bundled one, or from a TOML file or a run's recipe.json.

    Args:
        reference: Name or path.
        overrides: ``key=value`` each, for example ``fit.epochs=3``; values as in TOML.

    Raises:
        RecipeError: No such recipe, not TOML or JSON, or a key is unknown or out of range.
    """
    path = bundled_recipes().get(reference, Path(reference))
    kind = "JSON" if path.suffix == ".json" else "TOML"
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if kind == "JSON" else tomllib.loads(text)
    except IsADirectoryError as error:
        raise RecipeError(
            f"{reference} is a folder: give photos as --data {reference}, and a recipe by name or"
            " not at all"
        ) from error
    except OSError as error:
        known = ", ".join(bundled_recipes())
        raise RecipeError(
            f"recipe {reference!r} is neither a bundled one ({known}) nor a readable file:"
            f" {error.strerror}"
        ) from error
    except ValueError as error:  # of tomllib, of json, or not UTF-8
        raise RecipeError(f"{path} is not a {kind} file: {error}") from error
    if not isinstance(document, dict):
        raise RecipeError(f"{path} holds no recipe")
    return parse_recipe(override(document, overrides), str(path))


def override(document: dict[str, object], overrides: Sequence[str]) -> dict[str, object]:
    """A copy of a recipe document with keys replaced or added.

    Raises:
        RecipeError: An override is not ``key=value``, or its key goes through a value.
    """
    result = deepcopy(document)
    for text in overrides:
        key, equals, value = text.partition("=")
        *sections, name = key.strip().split(".")
        if not (equals and name):
            raise RecipeError(f"--set takes key=value, for example fit.epochs=3, not {text!r}")
        section = result
        for part in sections:
            inner = section.setdefault(part, {})
            if not isinstance(inner, dict):
                raise RecipeError(f"--set {text}: {part} is not a section")
            section = inner
        section[name] = _toml_value(value)
    return result


def _toml_value(text: str) -> object:
    """A TOML value; what is none is a string, so that a path needs no quotes in quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def parse_recipe(document: dict[str, object], origin: str) -> Recipe:
    """Validate a recipe document; ``origin`` names it in messages.

    Raises:
        RecipeError: A key is unknown, missing or out of range.
    """
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        problems = "\n".join(f"  {_problem(problem)}" for problem in error.errors())
        raise RecipeError(f"{origin} is not a valid recipe:\n{problems}") from error


def _problem(problem: ErrorDetails) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{key}: {problem['msg'].removeprefix('Value error, ')}"
    near = get_close_matches(str(problem["loc"][-1]), _keys(), n=1)
    return f"{key}: there is no such key{f'; is it {near[0]}?' if near else ''}"


def _keys() -> list[str]:
    """The names of all keys, whatever section they are of."""
    schema = Recipe.model_json_schema()
    sections = [schema, *schema["$defs"].values()]
    return sorted({name for section in sections for name in section.get("properties", ())})
