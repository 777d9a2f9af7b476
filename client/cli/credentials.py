"""The options about TLS and tokens, which every command has."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, cast

import typer

from client.credentials import (
    CA_VARIABLE,
    CERTIFICATE_VARIABLE,
    KEY_VARIABLE,
    TLS_VARIABLE,
    TOKEN_FILE_VARIABLE,
    Credentials,
)

_OPTIONS: dict[str, object] = {
    "tls": Annotated[
        bool | None,
        typer.Option("--tls/--no-tls", help=f"Use TLS [default: ${TLS_VARIABLE}]."),
    ],
    "ca": Annotated[
        Path | None,
        typer.Option(
            "--tls-ca", metavar="PEM", help=f"Who signed the server [default: ${CA_VARIABLE}]."
        ),
    ],
    "certificate": Annotated[
        Path | None,
        typer.Option(
            "--tls-cert",
            metavar="PEM",
            help=f"Who you are [default: ${CERTIFICATE_VARIABLE}].",
        ),
    ],
    "key": Annotated[
        Path | None,
        typer.Option("--tls-key", metavar="PEM", help=f"Its key [default: ${KEY_VARIABLE}]."),
    ],
    # No option for the token itself: other users of the machine see command lines.
    "token_file": Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help=f"Holds your bearer token [default: ${TOKEN_FILE_VARIABLE}]."
        ),
    ],
}


def with_credentials(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options, and hand it what they say as ``credentials``."""
    declared = inspect.signature(command)
    own = [each for each in declared.parameters.values() if each.name != "credentials"]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in _OPTIONS.items()
    ]

    @functools.wraps(command)
    def run(**given: object) -> None:
        chosen = {name: given.pop(name) for name in _OPTIONS}
        command(**given, credentials=Credentials(**cast("dict[str, Path]", chosen)))  # type: ignore[arg-type]

    # typer reads both.
    parameters = [*own, *added]
    run.__signature__ = declared.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run
