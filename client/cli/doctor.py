"""``doctor``: what is wrong between here and the server, and what mends it."""

import typer
from rich.text import Text

from client.checkup import Finding, examine
from client.cli import json_lines, options
from client.cli.bundles import takes
from client.cli.connection import CONNECTION, Connection
from client.cli.exit_codes import ExitCode
from client.cli.screen import Screen, open_screen
from client.cli.text import encodable, printable

_SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red")}
_ASCII = {"ok": "ok", "warning": "!", "problem": "x"}


@takes(connection=CONNECTION)
def doctor(
    *,
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """Find out what is wrong between here and the server, and what mends it."""
    screen = open_screen()
    problems = 0
    with connection.open() as client:
        for finding in examine(client, connection.credentials):
            problems += finding.verdict == "problem"
            if as_json:
                json_lines.write_line(_object(finding))
            else:
                _tell(screen, finding)
    raise typer.Exit(ExitCode.UNAVAILABLE if problems else ExitCode.OK)


def _tell(screen: Screen, finding: Finding) -> None:
    sign, style = _SIGNS[finding.verdict]
    shown = sign if screen.unicode else _ASCII[finding.verdict]
    screen.out.print(
        Text.assemble(
            (f"{shown:<2} ", style), (f"{finding.check:<13}", "bold"), printable(finding.message)
        )
    )
    if finding.remedy:
        screen.out.print(Text(f"{'':<16}-> {finding.remedy}", "cyan"))


def _object(finding: Finding) -> json_lines.Json:
    return {
        "check": finding.check,
        "verdict": finding.verdict,
        "message": encodable(finding.message),
        "remedy": finding.remedy,
    }
