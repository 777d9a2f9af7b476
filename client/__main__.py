"""``python -m client``: classify images, list models, ask for health."""

import sys

import typer

from client.cli.classify import classify
from client.cli.exits import EXIT_CODES_HELP, ExitCode
from client.cli.health import health
from client.cli.models import models

app = typer.Typer(
    help="Classify images with a Menagerie server.",
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command(epilog=EXIT_CODES_HELP)(classify)
app.command(epilog=EXIT_CODES_HELP)(models)
app.command(epilog=EXIT_CODES_HELP)(health)


def main() -> None:
    """Run the command line and exit."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)


if __name__ == "__main__":
    main()
