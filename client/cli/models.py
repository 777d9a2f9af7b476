"""``models``: what the server serves; and, at its listener for administration, what it is to."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from client.admin import AdminClient
from client.cli import json_lines, options
from client.cli.bundles import takes
from client.cli.commands import COMMANDS, Group, epilog
from client.cli.connection import CONNECTION, Connection, new_connection
from client.cli.exits import exits
from client.cli.json_lines import Json
from client.cli.screen import open_screen
from client.cli.table import models_table, print_table
from client.cli.text import printable
from client.results import ModelInfo

# Loading takes as long as it takes.
LOADING = new_connection(timeout_s=600.0)

app = typer.Typer(
    cls=Group,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="All but watch are for administrators: --server is the address of --admin-port.\n\n"
    + epilog(COMMANDS["models"].examples),
)

Name = Annotated[str, typer.Argument(metavar="MODEL", help="The model.")]
Version = Annotated[str, typer.Argument(metavar="[VERSION]", help="Its version.")]
OneVersion = Annotated[str, typer.Argument(metavar="VERSION", help="Its version.")]


@app.callback(invoke_without_command=True)
@takes(connection=CONNECTION)
def models(
    *,
    context: typer.Context,
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """List the models of the server; a star marks the default."""
    if context.invoked_subcommand is not None:
        return
    screen = open_screen()
    with connection.open() as client:
        found = client.models()
        if as_json:
            for model in found:
                json_lines.write_line(json_lines.model_object(model))
        elif found:
            print_table(screen, models_table(found, unicode=screen.unicode))
        else:
            screen.err.print(f"{connection.server} serves no model.")


@app.command()
@takes(connection=LOADING)
def load(
    name: Name,
    version: Version = "",
    *,
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """Load a version, or those of the model's policy, and wait until they are READY."""
    with _administrator(connection) as client:
        for model in client.load(name, version):
            _say(model, as_json=as_json)


@app.command()
@takes(connection=LOADING)
def unload(
    name: Name,
    version: Version = "",
    *,
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """Unload a version, or all, once what it accepted is answered."""
    with _administrator(connection) as client:
        client.unload(name, version)
    done: dict[str, Json] = {"model": name, "unloaded": version or None}
    _confirm(done, f"{name} {version or '(all versions)'} unloaded", as_json=as_json)


@app.command()
@takes(connection=CONNECTION)
def label(
    name: Name,
    label: Annotated[str, typer.Argument(metavar="LABEL", help='For example "stable".')],
    version: Version = "",
    *,
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """Point a label at a version; without one, where the repository says."""
    with _administrator(connection) as client:
        client.set_label(name, label, version)
    done: dict[str, Json] = {"model": name, "label": label, "version": version or None}
    target = version or "what the repository says"
    _confirm(done, f"{name}: {label} is {target}", as_json=as_json)


@app.command()
@takes(connection=CONNECTION)
def canary(
    name: Name,
    version: OneVersion,
    share: Annotated[
        float, typer.Argument(metavar="SHARE", min=0.0, max=1.0, help="Of the requests; 0: none.")
    ],
    *,
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """Send a share of the requests that name no version to this one."""
    with _administrator(connection) as client:
        client.set_canary(name, version, share)
    done: dict[str, Json] = {"model": name, "canary": version, "share": share}
    _confirm(done, f"{name}: {version} gets {100 * share:g}% of the requests", as_json=as_json)


@app.command()
@takes(connection=CONNECTION)
def shadow(
    name: Name,
    version: Annotated[str, typer.Argument(metavar="VERSION|off", help="Its version; off: none.")],
    *,
    percent: Annotated[
        float, typer.Option(min=0.0, max=100.0, help="Of the requests that are copied.")
    ] = 10.0,
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """Send copies of a share of the requests to a version, and compare what it answers."""
    copied = ("", 0.0) if version == "off" else (version, percent / 100)
    with _administrator(connection) as client:
        client.set_shadow(name, *copied)
    done: dict[str, Json] = {"model": name, "shadow": copied[0] or None, "share": copied[1]}
    copies = f"{version} gets copies of {percent:g}% of the requests"
    _confirm(done, f"{name}: {copies if copied[0] else 'no shadow'}", as_json=as_json)


@app.command()
@takes(connection=LOADING)
def rollback(
    name: Name,
    *,
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """End a canary; without one, return to the version before the default one."""
    with _administrator(connection) as client:
        _say(client.roll_back(name), as_json=as_json)


@app.command()
@takes(connection=CONNECTION)
def watch(
    *,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", callback=options.seconds, help="How often to ask.")
    ] = 1.0,
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """Say what changes about the models, until interrupted."""
    known: dict[tuple[str, str], ModelInfo] = {}
    with connection.open() as client:
        while True:
            found = {(model.name, model.version): model for model in client.models()}
            for key, model in found.items():
                if key not in known or _line(known[key]) != _line(model):
                    _say(model, as_json=as_json)
            for name, version in known.keys() - found.keys():
                gone: dict[str, Json] = {"model": name, "version": version, "state": "GONE"}
                _confirm(gone, f"{name} {version} gone", as_json=as_json)
            known = found
            time.sleep(every)


@contextmanager
def _administrator(connection: Connection) -> Iterator[AdminClient]:
    """Yield a client of AdminService; see ``Connection.open``."""
    with (
        exits(connection.server),
        AdminClient(
            connection.server, timeout_s=connection.timeout_s, credentials=connection.credentials
        ) as client,
    ):
        yield client


def _say(model: ModelInfo, *, as_json: bool) -> None:
    _confirm(json_lines.model_object(model), _line(model), as_json=as_json)


def _confirm(done: Json, sentence: str, *, as_json: bool) -> None:
    if as_json:
        json_lines.write_line(done)
    else:
        open_screen().out.print(printable(sentence), markup=False, highlight=False)


def _line(model: ModelInfo) -> str:
    labels = ", ".join(model.version_labels)
    parts = [f"{model.name} {model.version} {model.state}"]
    parts += ["default"] if model.is_default else []
    parts += [f"labels: {labels}"] if labels else []
    parts += [model.state_reason] if model.state_reason else []
    return "; ".join(parts)
