"""``web``: the page and the HTTP gateway."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from client.cli import json_lines, options
from client.cli.bundles import takes
from client.cli.connection import CONNECTION, Connection
from client.cli.exit_codes import ExitCode
from client.cli.exits import exits
from client.cli.extras import hint
from client.cli.text import printable


@takes(connection=CONNECTION)
def web(
    *,
    host: Annotated[
        str, typer.Option(help="Where to listen; 0.0.0.0 for every network of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8080,
    examples: Annotated[
        Path | None, typer.Option(help="A folder with photos to offer [default: bundled ones].")
    ] = None,
    admin_server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="The server's listener for administration: callers of /v2/repository may then"
            " load and unload models.",
        ),
    ] = None,
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """Open a web page to classify photos, and an HTTP interface (/docs)."""
    if examples is not None and not examples.is_dir():
        raise typer.BadParameter(f"{examples} is not a folder", param_hint="--examples")
    with exits(connection.server):
        asyncio.run(_serve(host, port, examples, connection, admin_server, as_json=as_json))


async def _serve(
    host: str,
    port: int,
    examples: Path | None,
    connection: Connection,
    admin_server: str | None,
    *,
    as_json: bool,
) -> None:
    try:
        import uvicorn  # noqa: PLC0415 (an extra)

        from client.web.app import BUNDLED_EXAMPLES, create_app  # noqa: PLC0415 (an extra)
        from client.web.connection import listener_config  # noqa: PLC0415 (an extra)
        from client.web.upstream import Upstream  # noqa: PLC0415 (an extra)
    except ImportError as error:
        typer.echo(
            f"Error: {error.name} is missing; the page needs: {hint('web')}.",
            err=True,
        )
        raise typer.Exit(ExitCode.USAGE) from None

    def upstream(address: str) -> Upstream:
        return Upstream(address, timeout_s=connection.timeout_s, credentials=connection.credentials)

    admin = upstream(admin_server) if admin_server else None
    app = create_app(
        upstream(connection.server), admin=admin, examples=examples or BUNDLED_EXAMPLES
    )
    with _listening(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}/"
        if as_json:
            json_lines.write_line({"url": url, "server": connection.server})
        else:
            typer.echo(f"{url} asks {connection.server}. Ctrl-C ends it.")
        await uvicorn.Server(listener_config(app)).serve(sockets=[listener])


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a listening socket; end with a sentence if the address cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        typer.echo(f"Error: cannot listen on {printable(host)}:{port}: {reason}.", err=True)
        raise typer.Exit(ExitCode.USAGE) from None
    with listener:
        yield listener
