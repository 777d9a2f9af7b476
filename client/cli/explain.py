"""``explain``: where the model looked, as a picture or as numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from client.cli import json_lines, options
from client.cli.bundles import takes
from client.cli.connection import CONNECTION, Connection
from client.cli.exit_codes import ExitCode
from client.cli.exits import concerns_all_images, exit_code_of_item
from client.cli.paths import named_images
from client.cli.screen import open_screen
from client.cli.table import image_block
from client.cli.text import printable
from client.errors import ClientError
from client.messages import CamMethod
from client.results import Classification


@takes(asked=options.ASKED, connection=CONNECTION)
def explain(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="An image file, or - for standard input.")
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the image, coloured by the map: a PNG file."),
    ] = None,
    label_id: Annotated[
        str, typer.Option("--label-id", help="The label to explain [default: the best one].")
    ] = "",
    method: Annotated[CamMethod, typer.Option(help="How the map is made.")] = "grad_cam",
    asked: options.Asked,
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """Classify an image and show which parts of it speak for a label."""
    if output is None and not as_json:
        raise typer.BadParameter("give --output FILE.png, or --json for the map as numbers")
    screen = open_screen()
    with connection.open() as client:
        name, source = next(iter(named_images([path])), (path, b""))
        try:
            answer = client.explain(
                source,
                label_id=label_id,
                method=method,
                overlay=output is not None,
                model=asked.model,
                version=asked.version,
                label=asked.label,
            )
        except ClientError as error:
            if concerns_all_images(error):
                raise
            screen.notes.print(Text(f"{printable(name)}: {printable(error.message)}", "red"))
            raise typer.Exit(exit_code_of_item(error)) from None
        _write(answer, output)
        if as_json:
            json_lines.write_line(json_lines.explained_object(name, answer))
            return
        block = image_block(name, _of_label(answer), unicode=screen.unicode, verbose=False)
        screen.out.print(block)
        screen.out.print(f"  written to {printable(str(output))}")


def _of_label(answer: Classification) -> Classification:
    """The answer with the label that is explained alone."""
    if answer.explanation is None:
        return answer
    return replace(answer, predictions=(answer.explanation.prediction,))


def _write(answer: Classification, output: Path | None) -> None:
    if output is None or answer.explanation is None:
        return
    try:
        output.write_bytes(answer.explanation.overlay_png)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        typer.echo(f"Error: {printable(str(output))} cannot be written: {reason}.", err=True)
        raise typer.Exit(ExitCode.SOME_FAILED) from None
