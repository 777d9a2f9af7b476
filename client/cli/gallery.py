"""``gallery``: one page to look through what a model says of a folder, unsure photos first."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from client.cli import options
from client.cli.bundles import takes
from client.cli.connection import CONNECTION, Connection
from client.cli.exit_codes import ExitCode
from client.cli.extras import hint
from client.cli.folder import CHOICE, Choice, conclude, folder_bar, report_failures, run
from client.cli.paths import named_images
from client.cli.screen import open_screen
from client.cli.text import printable

# Above so many photos one file is slow to open.
_MANY = 5_000


@takes(choice=CHOICE, connection=CONNECTION)
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
    choice: Choice,
    connection: Connection,
    as_json: options.Json = False,
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
    choice = replace(choice, top_k=3)
    screen = open_screen()
    with connection.open() as client:
        try:
            with GalleryPage(output, size, beside=beside) as page, folder_bar(screen, paths) as bar:
                tally = run(client, named_images(paths), choice, page.add, bar)
        except OSError as error:
            typer.echo(f"Error: {printable(str(output))}: {error.strerror}.", err=True)
            raise typer.Exit(ExitCode.USAGE) from None
    report_failures(screen, tally)
    conclude(screen, tally, output, as_json=as_json)
    if tally.images > _MANY and not beside:
        screen.err.print("So many photos open faster with --beside.")
    raise typer.Exit(tally.exit_code)
