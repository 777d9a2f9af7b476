"""``replay``: send recorded requests again, at their own times, and say what differs."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from client.address import server_address
from client.bench.photos import read_photos
from client.cli import json_lines, options
from client.cli.bundles import takes
from client.cli.connection import CONNECTION, Connection
from client.cli.exit_codes import ExitCode
from client.cli.exits import exits
from client.cli.json_lines import Json
from client.cli.paths import named_images
from client.cli.screen import Screen, open_screen
from client.cli.table import print_table
from client.cli.text import printable
from client.counting import counted
from client.errors import AddressError, ClientError, ServerUnavailableError
from client.replay import compare
from client.replay import run as running
from client.replay.compare import PERCENTILES, Comparison, Figures
from client.replay.record import Record, read_record, with_images

_SHOWN = 10  # changes, to people


@dataclass(frozen=True, slots=True)
class _Found:
    """What a replay found.

    Attributes:
        requests: Sent to each side.
        left_out: For want of an image.
        stand_ins: Sent with another image than theirs.
        seconds: That they took to come, at the chosen speed.
        late_ms: How late they were sent, at the 99th percentile.
        sides: Figures by name; the record's first, then the server's.
        comparison: The server's answers against the other ones.
    """

    requests: int
    left_out: int
    stand_ins: int
    seconds: float
    late_ms: float
    sides: Mapping[str, Figures]
    comparison: Comparison


def _other_server(value: str | None) -> str | None:
    try:
        return server_address(value) if value else None
    except AddressError as error:
        raise typer.BadParameter(error.message) from error


@takes(connection=CONNECTION)
def replay(
    path: Annotated[
        Path, typer.Argument(metavar="RECORD", help="A server's --record folder, or a file of it.")
    ],
    *,
    speed: Annotated[
        float,
        typer.Option(min=0.001, max=1e6, help="2: in half of the time that they took to come."),
    ] = 1.0,
    version: Annotated[
        str, typer.Option(help="Ask for this version instead of what was asked for.")
    ] = "",
    label: Annotated[str, typer.Option(help="Ask for the version with this label instead.")] = "",
    against: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            callback=_other_server,
            help="Send everything there, too, as it was asked for, and compare with its answers "
            "instead of those recorded.",
        ),
    ] = None,
    photos: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Photos for requests whose own was not kept, by size. Without: left out.",
        ),
    ] = None,
    as_json: options.Json = False,
    connection: Connection,
) -> None:
    """Send recorded requests again, at their own times, and say what differs."""
    if version and label:
        raise typer.BadParameter("--version and --label exclude each other")
    screen = open_screen()
    with exits(connection.server):
        record = read_record(path)
        for damaged in record.damaged:
            screen.err.print(f"{printable(str(damaged))} breaks off; what comes before it is used.")
        sides = [running.Side(connection.server, version, label, connection.credentials)]
        sides += [running.Side(against, credentials=connection.credentials)] if against else []
        images = (
            read_photos(source for _, source in named_images(photos or ())).images if photos else ()
        )
        found = _replay(screen, record, sides, images, speed, connection.timeout_s)
        if as_json:
            json_lines.write_line(_object(found, speed))
        else:
            _show(screen, found, speed)
    answered = list(found.sides.values())[1].statuses.get(running.OK, 0)
    raise typer.Exit(ExitCode.OK if answered == found.requests else ExitCode.SOME_FAILED)


def _replay(
    screen: Screen,
    record: Record,
    sides: Sequence[running.Side],
    images: Sequence[bytes],
    speed: float,
    timeout_s: float,
) -> _Found:
    requests, stand_ins = with_images(record, images)
    left_out = len(record.requests) - len(requests)
    if not requests:
        raise ClientError(
            "no recorded request has its image (their senders did not set may_keep_image);"
            " --photos names others to send",
            code="INVALID_ARGUMENT",
        )
    seconds = record.seconds / speed
    screen.err.print(f"Sending {counted(len(requests), 'request')} over {seconds:,.1f} s.")
    try:
        replayed = asyncio.run(running.replay(requests, sides, speed, timeout_s))
    except running.UnreachableError as error:
        raise ServerUnavailableError(str(error), address=sides[0].address) from error
    names = [_name(side) for side in sides]
    if len(set(names)) < len(names):
        names[1] += " as asked"
    figures = {name: compare.of_side(replayed, index) for index, name in enumerate(names)}
    late = compare.percentiles_ms([one.late_s for one in replayed])
    return _Found(
        requests=len(requests),
        left_out=left_out,
        stand_ins=stand_ins,
        seconds=seconds,
        late_ms=late[PERCENTILES[-1]],
        sides={"recorded": compare.of_record(replayed), **figures},
        comparison=compare.against_side(replayed)
        if len(sides) > 1
        else compare.against_record(replayed),
    )


def _name(side: running.Side) -> str:
    return " ".join(filter(None, (side.address, side.version, side.label)))


def _show(screen: Screen, found: _Found, speed: float) -> None:
    screen.out.print(
        f"{counted(found.requests, 'request')} in {found.seconds:,.1f} s, {speed:g} times as fast"
        f" as they came; {found.left_out:,} left out for want of an image, {found.stand_ins:,} with"
        f" another; sent late by {found.late_ms:.1f} ms at the 99th percentile"
    )
    print_table(screen, _table(found))
    comparison = found.comparison
    if not comparison.both:
        screen.out.print("No request was answered on both sides with the same image.")
        return
    share = comparison.same / comparison.both
    screen.out.print(
        f"{comparison.same:,} of {counted(comparison.both, 'answer')} ({share:.2%}) with the same"
        f" best label; its score differs by {comparison.mean_difference:.4f} on average,"
        f" {comparison.largest_difference:.4f} at most"
    )
    for change in comparison.changes[:_SHOWN]:
        (before, score_before), (now, score_now) = change.before, change.now
        screen.out.print(
            f"  {printable(change.request_id)}: {printable(before)} {score_before:.1%} ->"
            f" {printable(now)} {score_now:.1%}"
        )
    if len(comparison.changes) > _SHOWN:
        screen.out.print(f"  and {len(comparison.changes) - _SHOWN:,} more; --json has them")


def _table(found: _Found) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("")
    table.add_column("outcomes")
    table.add_column("versions")
    for clock in ("caller", "server"):
        table.add_column(
            f"{clock} ms: " + ", ".join(f"p{percent:g}" for percent in PERCENTILES), justify="right"
        )
    for name, figures in found.sides.items():
        table.add_row(
            printable(name),
            ", ".join(f"{count:,} {status}" for status, count in figures.statuses.items()),
            ", ".join(f"{printable(one)}: {count:,}" for one, count in figures.versions.items()),
            *(_percentiles(each) for each in (figures.latency_ms, figures.server_ms)),
        )
    return table


def _percentiles(found: Mapping[float, float]) -> str:
    return "  ".join(f"{milliseconds:.1f}" for milliseconds in found.values())


def _object(found: _Found, speed: float) -> Json:
    comparison = found.comparison
    changes: list[Json] = [
        {
            "request_id": change.request_id,
            "before": {"label": change.before[0], "score": change.before[1]},
            "now": {"label": change.now[0], "score": change.now[1]},
        }
        for change in comparison.changes
    ]
    return {
        "requests": found.requests,
        "left_out": found.left_out,
        "stand_ins": found.stand_ins,
        "speed": speed,
        "seconds": found.seconds,
        "late_p99_ms": found.late_ms,
        "sides": {name: _figures(figures) for name, figures in found.sides.items()},
        "answered_by_both": comparison.both,
        "same_label": comparison.same,
        "mean_score_difference": comparison.mean_difference,
        "largest_score_difference": comparison.largest_difference,
        "changes": changes,
    }


def _figures(figures: Figures) -> Json:
    return {
        "statuses": dict(figures.statuses),
        "versions": dict(figures.versions),
        "caller_ms": {f"p{percent:g}": value for percent, value in figures.latency_ms.items()},
        "server_ms": {f"p{percent:g}": value for percent, value in figures.server_ms.items()},
    }
