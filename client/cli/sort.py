"""``sort``: photos into a folder for each label. Shows first, does when told, can be undone."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.text import Text

from client.cli import options
from client.cli.bundles import takes
from client.cli.connection import CONNECTION, Connection
from client.cli.exit_codes import ExitCode
from client.cli.folder import CHOICE, Choice, Tally, folder_bar, report_failures, run
from client.cli.json_lines import write_line
from client.cli.paths import named_images
from client.cli.placing import How, Step, folder_name, free_target, place, undo_all
from client.cli.screen import Screen, open_screen
from client.cli.text import encodable, printable
from client.counting import counted
from client.results import Outcome

UNSURE = "unsure"


@takes(choice=CHOICE, connection=CONNECTION)
def sort(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="DIR", help="Folders with photos; or files.")
    ] = None,
    *,
    into: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Where the label folders are made.")
    ] = None,
    go: Annotated[bool, typer.Option("--go", help="Do it; without, only show.")] = False,
    how: Annotated[How, typer.Option(help="What becomes of a photo.")] = "copy",
    min_score: Annotated[
        float,
        typer.Option(
            "--min-score",
            min=0,
            max=1,
            help=f"Below it, or where the model abstains, to {UNSURE!r}.",
        ),
    ] = 0.0,
    undo: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take back what an undo file lists.")
    ] = None,
    choice: Choice,
    connection: Connection,
    as_json: options.Json = False,
) -> None:
    """Sort photos into a folder for each label. Without --go it only says what it would do."""
    screen = open_screen()
    if undo is not None:
        _take_back(screen, undo, as_json=as_json)
        return
    if not paths or into is None:
        raise typer.BadParameter("give folders with photos and --into OUT")
    _check_apart(paths, into)
    with connection.open() as client:
        sorter = _Sorter(screen, into, how, min_score, as_json=as_json)
        with _undo_file(into) if go else nullcontext() as file, folder_bar(screen, paths) as bar:
            sorter.undo = file
            tally = run(client, named_images(paths), choice, sorter.sort, bar)
    report_failures(screen, tally)
    _conclude(screen, sorter, tally, as_json=as_json)
    raise typer.Exit(max(tally.exit_code, sorter.exit_code))


def _check_apart(paths: list[str], into: Path) -> None:
    """Refuse a target inside a source: its photos would be found and sorted again."""
    for path in paths:
        if into.resolve().is_relative_to(Path(path).resolve()):
            raise typer.BadParameter(f"{into} lies inside {path}", param_hint="--into")


class _Sorter:
    """Decides on each photo's folder, and puts it there if there is an undo file."""

    def __init__(
        self, screen: Screen, into: Path, how: How, min_score: float, *, as_json: bool
    ) -> None:
        self.undo: IO[str] | None = None
        self.counts: dict[str, int] = {}
        self.exit_code = ExitCode.OK
        self._screen = screen
        self._into = into
        self._how = how
        self._min_score = min_score
        self._as_json = as_json

    def sort(self, outcome: Outcome[str]) -> None:
        """Sort one photo. One that failed stays where it is."""
        if outcome.error is not None:
            return
        best = outcome.result().predictions[0]
        sure = best.score >= self._min_score and outcome.result().abstain is not True
        name = folder_name(best.id) if sure else UNSURE
        source = Path(outcome.key)
        step = Step(source, free_target(self._into / name, source.name), self._how)
        if self.undo is not None:
            try:
                place(step, self.undo)
            except OSError as error:
                self._fail(step, error)
                return
        self.counts[name] = self.counts.get(name, 0) + 1
        if self._as_json:
            write_line(
                {
                    "path": encodable(outcome.key),
                    "target": encodable(str(step.target)),
                    "score": round(best.score, 6),
                    "done": self.undo is not None,
                }
            )

    def _fail(self, step: Step, error: OSError) -> None:
        self.exit_code = ExitCode.SOME_FAILED
        reason = (error.strerror or str(error)).lower()
        self._screen.notes.print(Text(f"{printable(str(step.source))}: {reason}", "red"))


def _undo_file(into: Path) -> IO[str]:
    into.mkdir(parents=True, exist_ok=True)
    path = free_target(into, time.strftime("undo-%Y%m%d-%H%M%S.jsonl"))
    return path.open("x", encoding="ascii")


def _conclude(screen: Screen, sorter: _Sorter, tally: Tally, *, as_json: bool) -> None:
    if as_json:
        return
    width = max([len(name) for name in sorter.counts], default=0)
    for name, count in sorted(sorter.counts.items(), key=lambda item: -item[1]):
        screen.out.print(Text(f"  {printable(name):<{width}}  {count}"))
    if sorter.undo is None:
        screen.out.print(
            f"Nothing was touched: {counted(tally.images, 'photo')} looked at. --go does it."
        )
    else:
        undo = printable(sorter.undo.name)
        screen.out.print(f"Done. To take it back: python -m client sort --undo {undo}")


def _take_back(screen: Screen, undo: Path, *, as_json: bool) -> None:
    left = taken = 0
    try:
        for step, problem in undo_all(undo):
            if problem:
                left += 1
                screen.err.print(Text(f"{printable(str(step.target))}: {problem}", "red"))
            else:
                taken += 1
    except (OSError, ValueError) as error:
        problem = str(getattr(error, "strerror", None) or error)
        raise typer.BadParameter(f"{undo}: {problem}") from None
    if as_json:
        write_line({"undo": encodable(str(undo)), "taken_back": taken, "left_alone": left})
    else:
        screen.out.print(f"{counted(taken, 'step')} taken back, {left:,} left alone.")
    if left:
        raise typer.Exit(ExitCode.SOME_FAILED)
    undo.unlink()
