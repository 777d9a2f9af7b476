"""``export``: a table of what a folder holds, which a killed run can go on with."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from client.cli import json_lines, options
from client.cli.bundles import takes
from client.cli.connection import CONNECTION, Connection
from client.cli.exit_codes import ExitCode
from client.cli.folder import (
    CHOICE,
    Choice,
    Tally,
    conclude,
    folder_bar,
    report_failures,
    run,
)
from client.cli.journal import Journal, JournalError
from client.cli.paths import NamedImage, named_images
from client.cli.screen import Screen, open_screen
from client.cli.tables import WRITERS, MissingLibraryError
from client.cli.text import encodable, printable
from client.counting import counted
from client.results import Outcome
from client.sdk import Client


@takes(choice=CHOICE, connection=CONNECTION)
def export(
    paths: options.Folders,
    *,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The table: .csv, .jsonl or .parquet.", metavar="FILE"),
    ],
    top_k: Annotated[
        int, typer.Option("--top-k", "-k", min=1, max=1000, help="Labels of a row, best first.")
    ] = 1,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what an interrupted run has done.")
    ] = False,
    choice: Choice,
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """Write a table of labels and scores. The same command goes on where it was interrupted."""
    choice = replace(choice, top_k=top_k)
    if output.suffix not in WRITERS:
        raise typer.BadParameter(f"{output} ends in none of {', '.join(WRITERS)}")
    screen = open_screen()
    beside = output.with_name(output.name + ".journal")
    with connection.open() as client:
        try:
            if restart:
                beside.unlink(missing_ok=True)
            tally = _journal(client, paths, choice, beside, screen)
            _publish(beside, output, top_k)
        except (OSError, JournalError, MissingLibraryError) as error:
            _leave(error, beside)
    report_failures(screen, tally)
    conclude(screen, tally, output, as_json=as_json)
    raise typer.Exit(tally.exit_code)


def _journal(
    client: Client, paths: list[str], choice: Choice, beside: Path, screen: Screen
) -> Tally:
    """Classify what the journal lacks. Its photos of earlier runs are counted, too."""
    asked = {"model": choice.model, "version": choice.version, "label": choice.label}
    settings: dict[str, json_lines.Json] = {**asked, "top_k": choice.top_k}
    with Journal(beside, settings) as journal, folder_bar(screen, paths, done=journal.done) as bar:
        if journal.done:
            screen.err.print(f"Going on after {counted(journal.done, 'photo')}.")

        def write(outcome: Outcome[str]) -> None:
            if outcome.error is not None:
                entry = json_lines.failed_image_object(outcome.key, outcome.error)
            else:
                entry = json_lines.image_object(outcome.key, outcome.result(), verbose=False)
            if isinstance(entry, dict):
                journal.add(entry)

        tally = run(client, _missing(named_images(paths), journal), choice, write, bar)
        tally.resume(journal.done, journal.failures)
        return tally


def _missing(images: Iterable[NamedImage], journal: Journal) -> Iterator[NamedImage]:
    return ((path, source) for path, source in images if encodable(path) not in journal)


def _publish(journal: Path, output: Path, top_k: int) -> None:
    """Write the table beside and rename it: nobody sees half of one."""
    part = output.with_name(output.name + ".part")
    WRITERS[output.suffix](journal, part, top_k)
    part.replace(output)
    journal.unlink()


def _leave(error: Exception, journal: Path) -> None:
    hint = f" ({journal}; --restart forgets it)" if isinstance(error, JournalError) else ""
    message = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)
    typer.echo(f"Error: {printable(message)}{hint}.", err=True)
    raise typer.Exit(ExitCode.USAGE) from None
