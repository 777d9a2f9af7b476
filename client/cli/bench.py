"""``bench``: put a server under load and say how it answered."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from client.cli import options
from client.cli.bundles import takes
from client.cli.connection import CONNECTION, Connection
from client.cli.exit_codes import ExitCode
from client.cli.exits import exits
from client.cli.extras import hint
from client.cli.json_lines import Json
from client.cli.paths import named_images
from client.cli.screen import Screen, open_screen
from client.counting import counted
from client.errors import ServerUnavailableError
from client.messages import Priority, Query
from client.sdk import Client

if TYPE_CHECKING:
    from client.bench.calls import MenagerieTarget
    from client.bench.load import Load
    from client.bench.run import Result
    from client.bench.worker import Progress

DURATION_S = 10.0
WARM_UP_S = 2.0
IN_FLIGHT = 8
STDOUT = Path("-")


@takes(asked=options.ASKED, connection=CONNECTION)
def bench(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Photos to send by turns: files or directories. They are read once.",
        ),
    ],
    *,
    in_flight: Annotated[
        int | None,
        typer.Option(
            "--in-flight",
            "-c",
            min=1,
            metavar="CALLS",
            help=f"Closed loop: so many calls are always open [default: {IN_FLIGHT}].",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            "-r",
            min=1e-3,
            metavar="CALLS",
            help="Open loop: so many calls a second, whether or not the server keeps up. "
            "Latencies count from when a call was due.",
        ),
    ] = None,
    arrivals: Annotated[
        Literal["poisson", "constant"],
        typer.Option(help="Open loop: calls at random, as from many people, or evenly spaced."),
    ] = "poisson",
    method: Annotated[
        Literal["unary", "batch", "stream"],
        typer.Option(help="A call for each photo, for several, or a stream for each connection."),
    ] = "unary",
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="PHOTOS", help="Photos in a call, with --method batch.")
    ] = 8,
    duration: Annotated[
        float,
        typer.Option(
            "--duration", "-d", metavar="SECONDS", callback=options.seconds, help="How long."
        ),
    ] = DURATION_S,
    calls: Annotated[
        int | None, typer.Option(min=1, metavar="CALLS", help="How many, instead of how long.")
    ] = None,
    warm_up: Annotated[
        float,
        typer.Option(
            min=0.0, max=options.LONGEST_S, metavar="SECONDS", help="Load before anything counts."
        ),
    ] = WARM_UP_S,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that share the load, each with its interpreter.")
    ] = 1,
    connections: Annotated[int, typer.Option(min=1, help="Connections of each process.")] = 1,
    deadline_ms: Annotated[
        float | None,
        typer.Option(
            min=1e-3,
            metavar="MS",
            help="When an answer is too late. The server is told; goodput is what comes in time.",
        ),
    ] = None,
    priority: Annotated[Priority, typer.Option(help="Of every request.")] = "normal",
    asked: options.Asked,
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals and of the photos' order.")] = 0,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all figures as JSON; - prints them."),
    ] = None,
    connection: Connection,
) -> None:
    """Put the server under load: throughput, latencies, refusals. Ctrl-C ends it early."""
    if in_flight is not None and rate is not None:
        raise typer.BadParameter(
            "--in-flight (closed loop) and --rate (open loop) exclude each other"
        )
    _need_hdrhistogram()
    from client.bench.calls import MenagerieTarget
    from client.bench.load import Load

    query = Query(asked.model, asked.version, asked.label, priority=priority)
    load = Load(
        in_flight=0 if rate is not None else in_flight or IN_FLIGHT,
        rate_per_s=rate or 0.0,
        arrivals=arrivals,
        warm_up_s=warm_up,
        duration_s=duration,
        calls=calls,
        deadline_s=None if deadline_ms is None else deadline_ms / 1000,
        timeout_s=connection.timeout_s,
        images_per_call=batch_size if method == "batch" else 1,
        seed=seed,
    )
    with exits(connection.server):
        target = MenagerieTarget(connection.server, method, query, connection.credentials)
        result = _measure(paths, target, load, processes, connections, json_file)
    if result.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    raise typer.Exit(ExitCode.OK if result.tally.statuses["OK"] else ExitCode.SOME_FAILED)


def _need_hdrhistogram() -> None:
    try:
        import hdrh  # noqa: F401
    except ModuleNotFoundError:
        typer.echo(f"Error: bench needs hdrhistogram: {hint('bench')}.", err=True)
        raise typer.Exit(ExitCode.USAGE) from None


def _measure(
    paths: list[str],
    target: "MenagerieTarget",
    load: "Load",
    processes: int,
    connections: int,
    json_file: Path | None,
) -> "Result":
    """Run the benchmark, print and write what it found.

    Raises:
        ClientError: A photo cannot be read, or the server does not serve.
    """
    from client.bench.photos import read_photos
    from client.bench.run import run
    from client.bench.sender import TargetError
    from client.cli.bench_report import figures, show

    screen = open_screen()
    photos = read_photos(source for _, source in named_images(paths))
    if photos.left_out:
        screen.err.print(
            f"Left out: {counted(photos.left_out, 'photo')}. The others fill the memory."
        )
    settings: dict[str, Json] = {
        "server": target.address,
        "model": _served(target, load.timeout_s),
        "method": target.method,
        "priority": target.query.priority,
        "processes": processes,
        "connections": connections,
    }
    started = datetime.now(UTC)
    try:
        with _progress_bar(screen) as tell:
            result = run(
                target, load, photos, processes=processes, connections=connections, progress=tell
            )
    except TargetError as error:
        raise ServerUnavailableError(str(error), address=target.address) from error
    if json_file is not None:
        _write(json_file, figures(result, load, photos, settings, started))
    if json_file != STDOUT:
        show(screen, result, load)
    return result


def _served(target: "MenagerieTarget", timeout_s: float) -> str:
    """Return the model version that will answer, once the server takes requests.

    Raises:
        ClientError: There is none, or no server.
    """
    query = target.query
    with Client(target.address, timeout_s=timeout_s, credentials=target.credentials) as client:
        model = client.model(query.model, version=query.version, label=query.label)
        client.wait_until_serving(timeout_s=timeout_s)
    return f"{model.name} {model.version}"


@contextmanager
def _progress_bar(screen: Screen) -> Iterator[Callable[["Progress"], None]]:
    """Show how far the benchmark is, on terminals only; yield what to tell it to."""
    if screen.live_console is None:
        yield lambda _progress: None
        return
    bar = ProgressBar(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=screen.live_console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with bar:
        task = bar.add_task("Warming up", total=1.0)

        def tell(progress: "Progress") -> None:
            if progress.done:
                counts = f"{progress.answered:,} answered, {progress.failed:,} failed"
                bar.update(task, description=counts, completed=progress.done)

        yield tell


def _write(path: Path, figures: Json) -> None:
    text = json.dumps(figures, allow_nan=False, indent=2) + "\n"
    if path == STDOUT:
        sys.stdout.write(text)
        return
    try:
        path.write_text(text, encoding="ascii")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        typer.echo(f"Error: {path} cannot be written: {reason}.", err=True)
