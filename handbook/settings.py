"""The page of the server's settings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from handbook.text import code, table
from server.settings import ENVIRONMENT_PREFIX, ModelSettings, QueuePolicySettings, Settings

_INTRODUCTION = """# Settings of the server

Each is a flag (`python -m server --max-batch-size 8`), a variable (`MENAGERIE_MAX_BATCH_SIZE=8`)
and a key of the TOML file that `--config` names (`max_batch_size = 8`); the first of these that
says something wins. The server logs all of them at start. Tables are JSON in flags and variables.

"""


def page() -> str:
    """Return the page in Markdown."""
    head = ("flag, variable", "default", "what it is")
    queues = table(("key", "default", "what it is"), _keys(QueuePolicySettings))
    models = table(("key", "default", "what it is"), _keys(ModelSettings))
    return (
        f"{_INTRODUCTION}{table(head, _rows())}\n"
        f"## Of one priority\n\n`[queue_policies.interactive]`, `normal` and `bulk`:\n\n{queues}\n"
        f"## Of one model\n\n`[models.NAME]`:\n\n{models}"
    )


def _rows() -> Iterator[tuple[str, str, str]]:
    for name, field in Settings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        variable = f"{ENVIRONMENT_PREFIX}{name.upper()}"
        yield f"{code(flag)}<br>{code(variable)}", _default(field), _meaning(field)


def _keys(settings: type[BaseModel]) -> Iterator[tuple[str, str, str]]:
    for name, field in settings.model_fields.items():
        yield code(name), _default(field), _meaning(field)


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, Path):
        return "the bundled models"
    if isinstance(value, BaseModel) or value in (None, "", (), {}):
        return ""
    return code(str(value).lower() if isinstance(value, bool) else value)


def _meaning(field: FieldInfo) -> str:
    said = field.description or ""
    if get_origin(field.annotation) is Literal:
        said += f" ({', '.join(code(each) for each in get_args(field.annotation))})"
    bounds = {type(each).__name__: each for each in field.metadata}
    words = {"Ge": ("at least", "ge"), "Gt": ("more than", "gt"), "Le": ("at most", "le")}
    told = [
        f"{word} {getattr(bounds[kind], attribute):,}"
        for kind, (word, attribute) in words.items()
        if kind in bounds
    ]
    return f"{said}{'; ' if told else ''}{', '.join(told)}"
