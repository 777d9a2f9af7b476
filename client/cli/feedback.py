"""``feedback``: what an image that was classified really shows."""

from typing import Annotated

import typer

from client.cli import json_lines, options
from client.cli.bundles import takes
from client.cli.connection import CONNECTION, Connection
from client.cli.screen import open_screen
from client.cli.text import encodable


@takes(connection=CONNECTION)
def feedback(
    request_id: Annotated[
        str,
        typer.Argument(metavar="REQUEST_ID", help="The answer's; classify --json -v shows it."),
    ],
    label_id: Annotated[str, typer.Argument(metavar="LABEL", help="The id of the right label.")],
    *,
    comment: Annotated[str, typer.Option(help="Anything else worth knowing.")] = "",
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """Tell the server whether an answer was right."""
    screen = open_screen()
    with connection.open() as client:
        correct = client.feedback(request_id, label_id, comment=comment)
    if as_json:
        json_lines.write_line({"request_id": encodable(request_id), "correct": correct})
    else:
        screen.out.print("The answer was right." if correct else "The answer was wrong; noted.")
