"""``watch``: classifies what arrives in a folder, until Ctrl-C."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from client.cli import json_lines, options
from client.cli.bundles import takes
from client.cli.connection import CONNECTION, Connection
from client.cli.exit_codes import ExitCode
from client.cli.extras import hint
from client.cli.folder import CHOICE, Choice, outcomes_of
from client.cli.paths import IMAGE_SUFFIXES, named_images
from client.cli.screen import Screen, open_screen
from client.cli.text import printable
from client.results import Outcome

# How often to look whether what arrived is complete: a file that did not change in between is.
_LOOK_MS = 300


@takes(choice=CHOICE, connection=CONNECTION)
def watch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder, subfolders included.")],
    *,
    existing: Annotated[
        bool, typer.Option("--existing", help="Classify what is there already, first.")
    ] = False,
    choice: Choice,
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """Classify photos as they arrive in a folder. Ctrl-C ends it."""
    if not folder.is_dir():
        raise typer.BadParameter(f"{folder} is not a folder")
    screen = open_screen()
    with connection.open() as client:
        changes = _changes(folder)
        next(changes)  # from here on nothing is missed
        screen.err.print(Text(f"Watching {printable(str(folder))}. Ctrl-C ends it.", "dim"))
        arrivals = Arrivals()
        if existing:
            arrivals.note(path for path, _ in named_images([str(folder)]))
        for changed in changes:
            arrivals.note(changed)
            complete = ((path, path) for path in arrivals.complete())
            for outcome in outcomes_of(client, complete, choice):
                _tell(screen, outcome, as_json=as_json)


class Arrivals:
    """Files on their way: told once, when they are complete, and again when they change."""

    def __init__(self) -> None:
        self._growing: dict[str, tuple[int, int]] = {}
        self._told: dict[str, tuple[int, int]] = {}

    def note(self, paths: Iterable[str]) -> None:
        """Take note of files that came or changed. What came as a folder is looked through."""
        for path in paths:
            if Path(path).is_dir():
                self.note(found for found, _ in named_images([path]) if found != path)
            elif path.lower().endswith(IMAGE_SUFFIXES):
                self._growing.setdefault(path, (-1, -1))

    def complete(self) -> Iterator[str]:
        """Yield the files that did not change since they were looked at last."""
        for path, before in sorted(self._growing.items()):
            now = _identity(path)
            if now is None or now == self._told.get(path):
                del self._growing[path]
            elif now == before:
                del self._growing[path]
                self._told[path] = now
                yield path
            else:
                self._growing[path] = now


def _identity(path: str) -> tuple[int, int] | None:
    """Return size in bytes and time of the last change in nanoseconds; None if it is gone."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _changes(folder: Path) -> Iterator[list[str]]:
    """Yield what changed since the last time, every _LOOK_MS; nothing at first."""
    try:
        import watchfiles  # noqa: PLC0415 (an extra)
    except ImportError:
        typer.echo(f"Error: watching needs: {hint('watch')}.", err=True)
        raise typer.Exit(ExitCode.USAGE) from None
    for changes in watchfiles.watch(
        folder, watch_filter=None, rust_timeout=_LOOK_MS, debounce=_LOOK_MS, yield_on_timeout=True
    ):
        yield [path for change, path in changes if change != watchfiles.Change.deleted]


def _tell(screen: Screen, outcome: Outcome[str], *, as_json: bool) -> None:
    if as_json:
        found = (
            json_lines.failed_image_object(outcome.key, outcome.error)
            if outcome.error is not None
            else json_lines.image_object(outcome.key, outcome.result(), verbose=False)
        )
        json_lines.write_line(found)
        return
    clock = (time.strftime("%H:%M:%S  "), "dim")
    name = printable(outcome.key)
    if outcome.error is not None:
        screen.notes.print(
            Text.assemble(clock, (f"{name}: {printable(outcome.error.message)}", "red"))
        )
        return
    best = outcome.result().predictions[0]
    said = (printable(best.display_name or best.id), "bold")
    screen.out.print(Text.assemble(clock, said, f" {best.score:6.1%}  {name}"))
