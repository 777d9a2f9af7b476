"""``classify``: images in, labels out, in the order of the images."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Annotated, Protocol

import typer
from rich.text import Text

from client.cli import json_lines, options
from client.cli.bundles import takes
from client.cli.connection import CONNECTION, Connection
from client.cli.exit_codes import ExitCode
from client.cli.exits import concerns_all_images, exit_code_of_item
from client.cli.paths import NamedImage, named_images
from client.cli.progress import progress
from client.cli.screen import Screen, open_screen
from client.cli.table import image_block
from client.cli.text import printable
from client.counting import counted
from client.errors import ClientError
from client.messages import Priority, Quality
from client.results import Outcome


class Report(Protocol):
    """How outcomes are shown: as blocks for people or as lines for programs."""

    def show(self, outcome: Outcome[str]) -> None:
        """Show what became of one image."""

    def abandon(self, paths: Iterable[str], error: ClientError) -> None:
        """Show what became of the images under way when the call as a whole failed."""


class TableReport:
    """Blocks on standard output, failures on standard error."""

    def __init__(self, screen: Screen, *, verbose: bool) -> None:
        self._screen = screen
        self._verbose = verbose

    def show(self, outcome: Outcome[str]) -> None:
        """Print a block, or a line that tells why there is none."""
        if outcome.error is not None:
            reason = printable(outcome.error.message)
            self._screen.notes.print(Text(f"{printable(outcome.key)}: {reason}", "red"))
            return
        block = image_block(
            outcome.key,
            outcome.result(),
            unicode=self._screen.unicode,
            verbose=self._verbose,
            round_trip_us=outcome.round_trip_us,
        )
        self._screen.out.print(block)

    def abandon(self, paths: Iterable[str], error: ClientError) -> None:
        """Print nothing: the command ends with the error, once for all images."""


class JsonReport:
    """One JSON object a line on standard output, for failures too."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose

    def show(self, outcome: Outcome[str]) -> None:
        """Write the object of an image."""
        if outcome.error is not None:
            json_lines.write_line(json_lines.failed_image_object(outcome.key, outcome.error))
            return
        line = json_lines.image_object(outcome.key, outcome.result(), verbose=self._verbose)
        if self._verbose and isinstance(line, dict):
            line["round_trip_us"] = outcome.round_trip_us
        json_lines.write_line(line)

    def abandon(self, paths: Iterable[str], error: ClientError) -> None:
        """Write the error for every image under way."""
        for path in paths:
            json_lines.write_line(json_lines.failed_image_object(path, error))


@takes(asked=options.ASKED, connection=CONNECTION)
def classify(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Image files; directories, of which the .jpg, .jpeg, .png and .webp files are "
            "taken, subdirectories included; or - for one image from standard input.",
        ),
    ],
    *,
    asked: options.Asked,
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", "-k", help="How many labels to show [default: the server's]."),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option("--min-score", help="Leave out labels below it, 0 to 1.")
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(help="Show the labels of which the true one is one, so often: 0.9, 0.95."),
    ] = None,
    quality: Annotated[
        Quality, typer.Option(help="How often to look: once, flip (2 times), crops (4 times).")
    ] = "once",
    may_keep: Annotated[
        bool, typer.Option("--may-keep", help="Allow the server to keep the images to learn from.")
    ] = False,
    priority: Annotated[
        Priority, typer.Option(help="The more urgent are served first; bulk when there is room.")
    ] = "normal",
    connection: Connection,
    as_json: options.Json = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show where the time went, step by step.")
    ] = False,
) -> None:
    """Classify images. Results come in the order of the images."""
    screen = open_screen()
    report = JsonReport(verbose=verbose) if as_json else TableReport(screen, verbose=verbose)
    with connection.open() as client:
        images = _Pending(named_images(paths))
        outcomes = client.classify_many(
            images,
            model=asked.model,
            version=asked.version,
            label=asked.label,
            top_k=top_k,
            min_score=min_score,
            coverage=coverage,
            may_keep_image=may_keep,
            quality=quality,
            priority=priority,
            ordered=True,
        )
        live_console = None if as_json and screen.out.is_terminal else screen.live_console
        with closing(outcomes), progress(live_console, paths) as advance:
            tally = _run(outcomes, images, report, advance)
    _end(screen, tally)


class _Pending:
    """The images, remembering those that were taken and have no outcome yet, oldest first.

    Taken in one thread, answered in another: a deque's ends are safe for that.
    """

    def __init__(self, images: Iterable[NamedImage]) -> None:
        self._images = images
        self.paths: deque[str] = deque()

    def __iter__(self) -> Iterator[NamedImage]:
        for path, source in self._images:
            self.paths.append(path)
            yield path, source


class _Tally:
    """How many images there were, how many failed, and what that means for the exit code."""

    def __init__(self) -> None:
        self.images = 0
        self.failed = 0
        self.exit_code = ExitCode.OK

    def count(self, error: ClientError | None) -> None:
        self.images += 1
        self.failed += error is not None
        self.exit_code = max(self.exit_code, exit_code_of_item(error))


def _run(
    outcomes: Iterable[Outcome[str]],
    images: _Pending,
    report: Report,
    advance: Callable[[], None],
) -> _Tally:
    """Show the outcomes, which come in the order of the images.

    Raises:
        ClientError: The call failed as a whole, or would fail for every image.
    """
    tally = _Tally()
    try:
        for outcome in outcomes:
            if outcome.error is not None and concerns_all_images(outcome.error):
                raise outcome.error
            images.paths.popleft()
            report.show(outcome)
            tally.count(outcome.error)
            advance()
    except ClientError as error:
        report.abandon(list(images.paths), error)
        raise
    return tally


def _end(screen: Screen, tally: _Tally) -> None:
    if tally.failed and tally.images > 1:
        screen.err.print(f"{tally.failed:,} of {counted(tally.images, 'image')} failed.")
    raise typer.Exit(tally.exit_code)
