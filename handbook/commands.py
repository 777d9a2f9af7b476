"""The page of the command lines: what each says of itself with ``--help``."""

from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from client.__main__ import app as client
from server.settings import load_settings
from trainer.__main__ import app as trainer

if TYPE_CHECKING:
    from typer._click import Command

_WIDTH = 80


def page() -> str:
    """Return the page in Markdown."""
    parts = [
        "# Command lines\n\nWhat each command says of itself with `--help`. How they are used:"
        " [the command line](../cli.md), [whole folders](../folders.md),"
        " [training](../training.md), [settings of the server](settings.md).\n"
    ]
    for name, app in (("client", client), ("trainer", trainer)):
        parts += _chapters(f"python -m {name}", app)
    parts.append(_chapter("python -m server", _server_help()))
    return "\n".join(parts)


def _chapters(call: str, app: typer.Typer) -> Iterator[str]:
    group = get_command(app)
    if not isinstance(group, TyperGroup):
        raise TypeError(f"{call} is no group of commands")
    yield from _group(call, group, 2)


def _group(call: str, group: TyperGroup, depth: int) -> Iterator[str]:
    context = _context(call, group)
    yield _chapter(call, group.get_help(context), depth)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, TyperGroup):
            yield from _group(f"{call} {name}", command, depth + 1)
        elif command is not None:
            inner = _context(f"{call} {name}", command)
            yield _chapter(f"{call} {name}", command.get_help(inner), depth + 1)


def _context(call: str, command: "Command") -> typer.Context:
    if isinstance(command, TyperCommand | TyperGroup):
        command.rich_markup_mode = None  # boxes are for terminals
    return typer.Context(command, info_name=call, terminal_width=_WIDTH)


def _chapter(call: str, text: str, depth: int = 2) -> str:
    return f"{'#' * depth} {call}\n\n```text\n{text.strip()}\n```\n"


def _server_help() -> str:
    said = StringIO()
    with redirect_stdout(said):
        try:
            load_settings(["--help"])
        except SystemExit:
            return said.getvalue()
    raise RuntimeError("the server did not help")
