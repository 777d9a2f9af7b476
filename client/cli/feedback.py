"""``feedback``: what an image that was classified really shows."""

from typing import Annotated

import typer

from client.cli import options
from client.cli.exits import exits
from client.cli.screen import open_screen
from client.sdk import Client


def feedback(
    request_id: Annotated[
        str,
        typer.Argument(metavar="REQUEST_ID", help="The answer's; classify --json -v shows it."),
    ],
    label_id: Annotated[str, typer.Argument(metavar="LABEL", help="The id of the right label.")],
    *,
    comment: Annotated[str, typer.Option(help="Anything else worth knowing.")] = "",
    server: options.Server = options.SERVER,
    timeout: options.Timeout = options.TIMEOUT_S,
) -> None:
    """Tell the server whether an answer was right."""
    screen = open_screen()
    with exits(server), Client(server, timeout_s=timeout) as client:
        correct = client.feedback(request_id, label_id, comment=comment)
        screen.out.print("The answer was right." if correct else "The answer was wrong; noted.")
