"""``python -m client``: the command line. The commands are in ``client.cli.commands``."""

import sys
from typing import Annotated

import typer

from client.cli.commands import Commands
from client.cli.exit_codes import EXIT_CODES_HELP, ExitCode
from client.cli.profiles import ProfileError, apply_profile

app = typer.Typer(
    cls=Commands,
    help="Classify images with a Menagerie server.",
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def choose(
    profile: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            envvar="MENAGERIE_PROFILE",
            show_envvar=False,
            help="Server and credentials by a name from client.toml [default: the file's].",
        ),
    ] = "",
) -> None:
    """Classify images with a Menagerie server."""
    try:
        apply_profile(profile)
    except ProfileError as error:
        raise typer.BadParameter(str(error), param_hint="--profile") from None


def main() -> None:
    """Run the command line and exit."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)


if __name__ == "__main__":
    main()
