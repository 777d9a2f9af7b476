"""The options about the server, TLS and tokens, which every command has."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from client.cli import options
from client.cli.bundles import Bundle
from client.cli.exits import exits
from client.credentials import (
    CA_VARIABLE,
    CERTIFICATE_VARIABLE,
    KEY_VARIABLE,
    TLS_VARIABLE,
    TOKEN_FILE_VARIABLE,
    Credentials,
)
from client.sdk import DEFAULT_TIMEOUT_S, Client

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


@dataclass(frozen=True, slots=True)
class Connection:
    """A server, how to prove oneself to it, and how long to wait for its answers."""

    server: str
    timeout_s: float
    credentials: Credentials

    @contextmanager
    def open(self) -> Iterator[Client]:
        """Yield a client; end the command with a sentence where it fails, see ``exits``.

        Raises:
            typer.Exit: A credential cannot be used, or the body failed because of the server,
                Ctrl-C, or a closed pipe.
        """
        with exits(self.server), self._client() as client:
            yield client

    def _client(self) -> Client:
        return Client(self.server, timeout_s=self.timeout_s, credentials=self.credentials)


def new_connection(timeout_s: float = DEFAULT_TIMEOUT_S) -> Bundle:
    """Return the bundle that makes a Connection.

    Args:
        timeout_s: Default of --timeout, in seconds.
    """
    return Bundle(
        {
            "server": (options.Server, options.SERVER),
            "timeout": (options.Timeout, timeout_s),
            **{name: (option, None) for name, option in _OPTIONS.items()},
        },
        _connection,
    )


def _connection(server: str, timeout: float, **given: Path | None) -> Connection:
    return Connection(server, timeout, Credentials(**given))  # type: ignore[arg-type] # tls is a bool


CONNECTION = new_connection()
