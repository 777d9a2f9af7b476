"""Every command line that the documents show is one that the programs take."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer
from typer.core import TyperGroup
from typer.main import get_command

from client.__main__ import app as client
from server.settings import Settings
from trainer.__main__ import app as trainer

if TYPE_CHECKING:
    from typer._click import Command

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"python -m (client|trainer|server)(?![\w.])(.*)")
_END = ("|", "&", "#", ";", ")")


def lines(page: Path) -> Iterator[str]:
    for kind, block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind in ("", "bash"):
            yield from block.replace("\\\n", " ").splitlines()


def calls(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Program and arguments of each call that a page shows."""
    for line in lines(page):
        if (found := _CALL.search(line)) is not None and not line.lstrip().startswith("#"):
            words = shlex.split(found[2].replace(")", " ) "), comments=True)
            end = next((place for place, word in enumerate(words) if word in _END), len(words))
            yield found[1], words[:end]


@cache
def program(name: str) -> "Command":
    return get_command({"client": client, "trainer": trainer}[name])


def parse(command: "Command", name: str, arguments: list[str]) -> None:
    """Raises what the program would say of its arguments."""
    context = command.make_context(name, list(arguments))
    if isinstance(command, TyperGroup) and arguments:
        _, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        if inner is not None:
            parse(inner, name, rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_calls_that_a_page_shows_are_understood(page: Path) -> None:
    flags = {f"--{name.replace('_', '-')}" for name in (*Settings.model_fields, "config", "help")}
    for name, arguments in calls(page):
        if name == "server":
            given = {word.partition("=")[0] for word in arguments if word.startswith("-")}
            assert {re.sub("^--no-", "--", flag) for flag in given} <= flags, arguments
            continue
        try:
            parse(program(name), name, arguments)
        except typer.Exit:
            pass  # --help
        except typer._click.ClickException as error:
            pytest.fail(f"{name} {shlex.join(arguments)}: {error.format_message()}")


def test_calls_are_found_and_wrong_ones_are_seen() -> None:
    found = [name for page in PAGES for name, _ in calls(page)]
    assert {"client", "trainer", "server"} == set(found)
    assert len(found) > 60
    with pytest.raises(typer._click.ClickException):
        parse(program("client"), "client", ["models", "canary", "pets"])
    with pytest.raises(typer._click.ClickException):
        parse(program("trainer"), "trainer", ["fit", "--date", "DIR"])
