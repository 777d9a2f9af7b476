"""The options that several commands share."""

import math
from dataclasses import dataclass
from typing import Annotated

import typer

from client.address import DEFAULT_ADDRESS, SERVER_VARIABLE, server_address
from client.cli.bundles import Bundle
from client.errors import AddressError

LONGEST_S = 86_400.0  # a day


def _address(value: str) -> str:
    """Resolve the address as the SDK does: option, environment, default."""
    try:
        return server_address(value)
    except AddressError as error:
        raise typer.BadParameter(error.message) from error


def seconds(value: float | None) -> float | None:
    """Return `value` if it is a time that can be waited for.

    Raises:
        typer.BadParameter: It is not.
    """
    if value is not None and (math.isnan(value) or not 0 < value <= LONGEST_S):
        raise typer.BadParameter(f"{value:g} is not more than 0 and at most {LONGEST_S:g} seconds")
    return value


Server = Annotated[
    str,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        callback=_address,
        show_default=False,
        help=f"Where the server is [default: ${SERVER_VARIABLE}, else {DEFAULT_ADDRESS}].",
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="SECONDS", callback=seconds, help="How long to wait for an answer."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]

SERVER = ""  # resolved by the callback

Folders = Annotated[
    list[str],
    typer.Argument(
        metavar="DIR",
        help="Folders with photos (.jpg, .jpeg, .png, .webp), subfolders included; or files.",
    ),
]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which model is asked, and which version of it: by number, by label, or the default one."""

    model: str = ""
    version: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        if self.version and self.label:
            raise typer.BadParameter("--version and --label exclude each other")


ASKED = Bundle(
    {
        "model": (Annotated[str, typer.Option(help="Model to ask [default: the server's].")], ""),
        "version": (Annotated[str, typer.Option(help="Version number of the model.")], ""),
        "label": (Annotated[str, typer.Option(help="Version label, for example latest.")], ""),
    },
    Asked,
)
