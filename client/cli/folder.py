"""What the commands that work through folders share: a run over folders that no photo can stop."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from client.cli.bundles import Bundle
from client.cli.exit_codes import ExitCode
from client.cli.exits import concerns_all_images, exit_code_of_item
from client.cli.json_lines import Json, write_line
from client.cli.options import ASKED, Asked, seconds
from client.cli.paths import NamedImage
from client.cli.progress import progress
from client.cli.screen import Screen
from client.cli.text import encodable, printable
from client.counting import counted
from client.crowd import DEFAULT_IN_FLIGHT, DEFAULT_PATIENCE_S, classify_each
from client.errors import ClientError, ImageFileError
from client.results import Outcome
from client.sdk import Client

# Of the failures so many are told by name at the end; all are counted.
_MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Choice(Asked):
    """What every photo of a run is asked, and how."""

    top_k: int = 1
    in_flight: int = DEFAULT_IN_FLIGHT
    patience_s: float = DEFAULT_PATIENCE_S


CHOICE = Bundle(
    {
        **ASKED.options,
        "in_flight": (
            Annotated[
                int, typer.Option(min=1, max=512, help="How many photos may be under way at once.")
            ],
            DEFAULT_IN_FLIGHT,
        ),
        "patience_s": (
            Annotated[
                float,
                typer.Option(
                    "--patience",
                    metavar="SECONDS",
                    callback=seconds,
                    help="How long a photo waits for a server that is away or busy.",
                ),
            ],
            DEFAULT_PATIENCE_S,
        ),
    },
    Choice,
)


@dataclass(slots=True)
class Tally:
    """How a run went: counts by label, and the first failures."""

    images: int = 0
    failed: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)
    exit_code: ExitCode = ExitCode.OK

    def count(self, outcome: Outcome[str]) -> None:
        """Count an outcome."""
        self.images += 1
        if outcome.error is not None:
            self.failed += 1
            self.exit_code = max(self.exit_code, exit_code_of_item(outcome.error))
            if len(self.told) < _MOST_TOLD:
                self.told.append((outcome.key, outcome.error.message))
        elif outcome.result().predictions:
            best = outcome.result().predictions[0]
            name = best.display_name or best.id
            self.labels[name] = self.labels.get(name, 0) + 1

    def resume(self, images: int, failures: list[tuple[str, str]]) -> None:
        """Count the photos of an earlier run, of which some had failed."""
        self.images += images
        self.failed += len(failures)
        self.told = [*failures, *self.told][:_MOST_TOLD]
        if failures:
            self.exit_code = max(self.exit_code, ExitCode.SOME_FAILED)


def run(
    client: Client,
    images: Iterable[NamedImage],
    choice: Choice,
    each: Callable[[Outcome[str]], None],
    bar: "Bar",
) -> Tally:
    """Classify every image and hand each outcome, in order, to `each`.

    Raises:
        ClientError: The server stayed away, or would refuse every image.
    """
    tally = Tally()
    with closing(outcomes_of(client, images, choice)) as outcomes:
        for outcome in outcomes:
            each(outcome)
            tally.count(outcome)
            bar()
    return tally


def outcomes_of(
    client: Client, images: Iterable[NamedImage], choice: Choice
) -> Generator[Outcome[str], None, None]:
    """Yield the outcome of every image, in order.

    Raises:
        ClientError: The server stayed away, or would refuse every image.
    """
    outcomes = classify_each(
        client,
        images,
        model=choice.model,
        version=choice.version,
        label=choice.label,
        top_k=choice.top_k,
        in_flight=choice.in_flight,
        patience_s=choice.patience_s,
    )
    with closing(outcomes):
        for outcome in outcomes:
            if outcome.error is not None and _ends_run(outcome.error):
                raise outcome.error
            yield outcome


def _ends_run(error: ClientError) -> bool:
    """Tell whether going on is in vain: the photo is not to blame."""
    away = exit_code_of_item(error) is ExitCode.UNAVAILABLE
    return away or (not isinstance(error, ImageFileError) and concerns_all_images(error))


Bar = Callable[[], None]


@contextmanager
def folder_bar(screen: Screen, paths: list[str], *, done: int = 0) -> Generator[Bar, None, None]:
    """Show a bar on standard error's terminal while the body runs."""
    with progress(screen.live_console, paths, done=done) as advance:
        yield advance


def conclude(screen: Screen, tally: Tally, output: Path, *, as_json: bool) -> None:
    """Say what a run wrote."""
    if as_json:
        labels: dict[str, Json] = dict(tally.labels)
        counts: dict[str, Json] = {"images": tally.images, "failed": tally.failed, "labels": labels}
        write_line({"output": encodable(str(output)), **counts})
    else:
        screen.out.print(Text(f"{printable(str(output))}: {counted(tally.images, 'photo')}"))


def report_failures(screen: Screen, tally: Tally) -> None:
    """Tell at the end which photos failed."""
    for path, reason in tally.told:
        screen.err.print(Text(f"{printable(path)}: {printable(reason)}", "red"))
    if tally.failed > len(tally.told):
        screen.err.print(f"... and {tally.failed - len(tally.told):,} more.")
    if tally.failed:
        screen.err.print(f"{tally.failed:,} of {counted(tally.images, 'photo')} failed.")
