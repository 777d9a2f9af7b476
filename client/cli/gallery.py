"""``gallery``: one page to look through what a model says of a folder, unsure photos first."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from client.cli import options
from client.cli.credentials import with_credentials
from client.cli.exit_codes import ExitCode
from client.cli.exits import exits
from client.cli.extras import hint
from client.cli.folder import Choice, folder_bar, report_failures, run
from client.cli.paths import named_images
from client.cli.screen import open_screen
from client.cli.text import printable
from client.credentials import Credentials
from client.sdk import Client

# Above so many photos one file is slow to open.
_MANY = 5_000


@with_credentials
def gallery(
    paths: options.Folders,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PAGE.html", help="The page to write.")
    ],
    beside: Annotated[
        bool,
        typer.Option("--beside", help="Thumbnails in a folder beside the page, not inside it."),
    ] = False,
    size: Annotated[
        int, typer.Option(min=32, max=512, help="Longer side of a thumbnail, in pixels.")
    ] = 192,
    model: options.Model = "",
    version: options.Version = "",
    label: options.Label = "",
    in_flight: options.InFlight = options.IN_FLIGHT,
    patience: options.Patience = options.PATIENCE_S,
    server: options.Server = options.SERVER,
    timeout: options.Timeout = options.TIMEOUT_S,
    credentials: Credentials,
) -> None:
    """Write a page with the photos by label, the least certain first. It opens offline."""
    try:
        from client.cli.gallery_page import GalleryPage  # noqa: PLC0415 (an extra)
    except ImportError as error:
        typer.echo(
            f"Error: {error.name} is missing; thumbnails need: {hint('gallery')}.",
            err=True,
        )
        raise typer.Exit(ExitCode.USAGE) from None
    choice = Choice(model, version, label, 3, in_flight, patience)
    screen = open_screen()
    with exits(server), Client(server, timeout_s=timeout, credentials=credentials) as client:
        try:
            with GalleryPage(output, size, beside=beside) as page, folder_bar(screen, paths) as bar:
                tally = run(client, named_images(paths), choice, page.add, bar)
        except OSError as error:
            typer.echo(f"Error: {printable(str(output))}: {error.strerror}.", err=True)
            raise typer.Exit(ExitCode.USAGE) from None
    report_failures(screen, tally)
    screen.out.print(Text(f"{printable(str(output))}: {tally.images} photos"))
    if tally.images > _MANY and not beside:
        screen.err.print("So many photos open faster with --beside.")
    raise typer.Exit(tally.exit_code)
