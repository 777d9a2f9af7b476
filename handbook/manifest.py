"""The page of the artifact's manifest."""

import inspect
import json
from collections.abc import Iterator, Mapping
from enum import Enum

from griffe import Docstring, DocstringSectionAttributes
from pydantic import BaseModel

from handbook.text import code, table
from models import manifest

_INTRODUCTION = """# The manifest

`manifest.json` in a version's folder says everything about the artifact; what an artifact is, and
how it is verified, stands in [the artifact](../artifact.md). Unknown keys are an error. Schema
version {version}.

"""


def page() -> str:
    """Return the page in Markdown: the manifest first, then what it is made of."""
    kinds = [
        kind
        for _, kind in inspect.getmembers(manifest, inspect.isclass)
        if issubclass(kind, BaseModel) and kind.__module__ == manifest.__name__
    ]
    parts = sorted(
        (kind for kind in kinds if not kind.__name__.startswith("_")),
        key=lambda kind: (kind is not manifest.Manifest, kind.__name__),
    )
    start = _INTRODUCTION.format(version=manifest.SCHEMA_VERSION)
    return start + "\n".join(_kind(kind) for kind in parts)


def _kind(kind: type[BaseModel]) -> str:
    docstring = inspect.getdoc(kind) or ""
    rows = table(("key", "type", "what it is"), _rows(kind, _meanings(docstring)))
    return f"## {kind.__name__}\n\n{docstring.partition('Attributes:')[0].strip()}\n\n{rows}"


def _rows(kind: type[BaseModel], meanings: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    schema = kind.model_json_schema()
    for name, described in schema["properties"].items():
        optional = "" if name in schema.get("required", ()) else ", optional"
        yield code(name), f"{_type(described)}{optional}", meanings.get(name, "")


def _meanings(docstring: str) -> dict[str, str]:
    sections = Docstring(docstring).parse("google", warnings=False)
    return {
        attribute.name: attribute.description
        for section in sections
        if isinstance(section, DocstringSectionAttributes)
        for attribute in section.value
    }


def _type(described: Mapping[str, object]) -> str:
    """Return a JSON schema in words."""
    match described:
        case {"$ref": str(name)}:
            return _named(name.rpartition("/")[2])
        case {"const": value}:
            return code(json.dumps(value))
        case {"anyOf": [*options]}:
            return " or ".join(_type(option) for option in options if isinstance(option, dict))
        case {"type": "array" | "object"}:
            return _container(described)
        case {"type": str(kind)}:
            return _scalar(kind, described)
    raise ValueError(f"no words for {described}")


def _container(described: Mapping[str, object]) -> str:
    match described:
        case {"prefixItems": [dict(item), *others]}:
            return f"list of {len(others) + 1}: {_type(item)}"
        case {"items": dict(item)}:
            return f"list of {_type(item)}"
        case {"additionalProperties": dict(value)}:
            return f"table of {_type(value)}"
    return "table"


def _named(name: str) -> str:
    kind = getattr(manifest, name)
    if issubclass(kind, Enum):
        return " or ".join(code(json.dumps(each.value)) for each in kind)
    return f"[{name}](#{name.lower()})"


def _scalar(kind: str, described: Mapping[str, object]) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "more than",
        "maximum": "at most",
        "exclusiveMaximum": "less than",
        "pattern": "matching",
        "format": "as",
    }
    bounds = [f"{word} {code(described[key])}" for key, word in words.items() if key in described]
    return " ".join([kind, ", ".join(bounds)]).strip()
