"""``models``: what the server serves; and, at its listener for administration, what it is to."""

import time
from typing import Annotated

import typer

from client.admin import AdminClient
from client.cli import json_lines, options
from client.cli.commands import COMMANDS, epilog
from client.cli.credentials import with_credentials
from client.cli.exits import exits
from client.cli.screen import open_screen
from client.cli.table import models_table, print_table
from client.credentials import Credentials
from client.results import ModelInfo
from client.sdk import Client

LOAD_TIMEOUT_S = 600.0

app = typer.Typer(
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
@with_credentials
def models(
    *,
    context: typer.Context,
    server: options.Server = options.SERVER,
    timeout: options.Timeout = options.TIMEOUT_S,
    as_json: options.Json = False,
    credentials: Credentials,
) -> None:
    """List the models of the server; a star marks the default."""
    if context.invoked_subcommand is not None:
        return
    screen = open_screen()
    with exits(server), Client(server, timeout_s=timeout, credentials=credentials) as client:
        found = client.models()
        if as_json:
            for model in found:
                json_lines.write_line(json_lines.model_object(model))
        elif found:
            print_table(screen, models_table(found, unicode=screen.unicode))
        else:
            screen.err.print(f"{server} serves no model.")


@app.command()
@with_credentials
def load(
    name: Name,
    version: Version = "",
    *,
    server: options.Server = options.SERVER,
    timeout: options.Timeout = LOAD_TIMEOUT_S,
    credentials: Credentials,
) -> None:
    """Load a version, or those of the model's policy, and wait until they are READY."""
    with exits(server), AdminClient(server, timeout_s=timeout, credentials=credentials) as client:
        for model in client.load(name, version):
            _say(model)


@app.command()
@with_credentials
def unload(
    name: Name,
    version: Version = "",
    *,
    server: options.Server = options.SERVER,
    timeout: options.Timeout = LOAD_TIMEOUT_S,
    credentials: Credentials,
) -> None:
    """Unload a version, or all, once what it accepted is answered."""
    with exits(server), AdminClient(server, timeout_s=timeout, credentials=credentials) as client:
        client.unload(name, version)


@app.command()
@with_credentials
def label(
    name: Name,
    label: Annotated[str, typer.Argument(metavar="LABEL", help='For example "stable".')],
    version: Version = "",
    *,
    server: options.Server = options.SERVER,
    timeout: options.Timeout = options.TIMEOUT_S,
    credentials: Credentials,
) -> None:
    """Point a label at a version; without one, where the repository says."""
    with exits(server), AdminClient(server, timeout_s=timeout, credentials=credentials) as client:
        client.set_label(name, label, version)


@app.command()
@with_credentials
def canary(
    name: Name,
    version: OneVersion,
    share: Annotated[float, typer.Argument(min=0.0, max=1.0, help="Of the requests; 0: none.")],
    *,
    server: options.Server = options.SERVER,
    timeout: options.Timeout = options.TIMEOUT_S,
    credentials: Credentials,
) -> None:
    """Send a share of the requests that name no version to this one."""
    with exits(server), AdminClient(server, timeout_s=timeout, credentials=credentials) as client:
        client.set_canary(name, version, share)


@app.command()
@with_credentials
def shadow(
    name: Name,
    version: Annotated[str, typer.Argument(metavar="VERSION|off", help="Its version; off: none.")],
    *,
    percent: Annotated[
        float, typer.Option(min=0.0, max=100.0, help="Of the requests that are copied.")
    ] = 10.0,
    server: options.Server = options.SERVER,
    timeout: options.Timeout = options.TIMEOUT_S,
    credentials: Credentials,
) -> None:
    """Send copies of a share of the requests to a version, and compare what it answers."""
    copied = ("", 0.0) if version == "off" else (version, percent / 100)
    with exits(server), AdminClient(server, timeout_s=timeout, credentials=credentials) as client:
        client.set_shadow(name, *copied)


@app.command()
@with_credentials
def rollback(
    name: Name,
    *,
    server: options.Server = options.SERVER,
    timeout: options.Timeout = LOAD_TIMEOUT_S,
    credentials: Credentials,
) -> None:
    """End a canary; without one, return to the version before the default one."""
    with exits(server), AdminClient(server, timeout_s=timeout, credentials=credentials) as client:
        _say(client.roll_back(name))


@app.command()
@with_credentials
def watch(
    *,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", callback=options.seconds, help="How often to ask.")
    ] = 1.0,
    server: options.Server = options.SERVER,
    timeout: options.Timeout = options.TIMEOUT_S,
    credentials: Credentials,
) -> None:
    """Say what changes about the models, until interrupted."""
    known: dict[tuple[str, str], ModelInfo] = {}
    with exits(server), Client(server, timeout_s=timeout, credentials=credentials) as client:
        while True:
            found = {(model.name, model.version): model for model in client.models()}
            for key, model in found.items():
                if key not in known or _line(known[key]) != _line(model):
                    _say(model)
            for name, version in known.keys() - found.keys():
                open_screen().out.print(f"{name} {version} gone", markup=False)
            known = found
            time.sleep(every)


def _say(model: ModelInfo) -> None:
    open_screen().out.print(_line(model), markup=False, highlight=False)


def _line(model: ModelInfo) -> str:
    labels = ", ".join(model.version_labels)
    parts = [f"{model.name} {model.version} {model.state}"]
    parts += ["default"] if model.is_default else []
    parts += [f"labels: {labels}"] if labels else []
    parts += [model.state_reason] if model.state_reason else []
    return "; ".join(parts)
