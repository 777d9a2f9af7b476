"""``python -m client``: the command line. The commands are in ``client.cli.commands``."""

import gc
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
    status = _run()
    # A failed call's finalizer waits for a thread of gRPC's, which runs no more once the
    # interpreter ends: whatever is left of calls has to go before.
    gc.collect()
    sys.exit(status)


def _run() -> str | int | None:
    try:
        app()
    except SystemExit as end:
        return end.code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return 0


if __name__ == "__main__":
    main()
