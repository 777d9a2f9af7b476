"""``plan``: how many servers like this one a load takes."""

import math
import re
from typing import Annotated

import typer

from client.cli import json_lines, options
from client.cli.bundles import takes
from client.cli.connection import CONNECTION, Connection
from client.cli.exit_codes import ExitCode
from client.cli.json_lines import Json
from client.cli.screen import Screen, open_screen
from client.cli.text import printable
from client.counting import counted
from client.planning import BUSIEST, MARGIN, Load, Plan, PlanError
from client.planning import plan as plan_replicas
from client.results import Capacity, ModelInfo

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s)")


def _duration(value: str) -> str:
    found = _TIME.fullmatch(value.strip())
    if found is None or float(found[1]) <= 0:
        raise typer.BadParameter(f"{value!r} is no time: write 100ms or 0.1s")
    return value


def _seconds(value: str) -> float:
    found = _TIME.fullmatch(value.strip())
    assert found is not None  # noqa: S101 - its callback has seen to that
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


@takes(asked=options.ASKED, connection=CONNECTION)
def plan(
    *,
    rps: Annotated[
        float, typer.Option("--rps", min=0.001, metavar="IMAGES", help="Images a second.")
    ],
    p99: Annotated[
        str,
        typer.Option(
            "--p99",
            metavar="TIME",
            callback=_duration,
            help="What 99 of 100 answers may take on the server: 100ms, 0.1s.",
        ),
    ],
    asked: options.Asked,
    as_json: options.Json = False,
    connection: Connection,
) -> None:
    """Say how many servers like this one a load takes, and show the arithmetic."""
    screen, server = open_screen(), connection.server
    with connection.open() as client:
        found = client.model(asked.model, version=asked.version, label=asked.label)
        if found.capacity is None:
            screen.err.print(f"Error: {server} does not say what {printable(found.name)} can do.")
            raise typer.Exit(ExitCode.REFUSED)
        try:
            planned = plan_replicas(found.capacity, rps, _seconds(p99))
        except PlanError as error:
            screen.err.print(f"No number of replicas will do: {error}.")
            raise typer.Exit(ExitCode.REFUSED) from None
        if as_json:
            json_lines.write_line(_object(found, found.capacity, planned, rps, _seconds(p99)))
        else:
            _show(screen, server, found, found.capacity, planned, rps, _seconds(p99))


def _show(
    screen: Screen,
    server: str,
    model: ModelInfo,
    capacity: Capacity,
    planned: Plan,
    rps: float,
    p99_s: float,
) -> None:
    name = f"{printable(model.name)} {printable(model.version)}"
    load = planned.load
    lines = [
        f"{counted(planned.replicas, 'replica')} of {name} like {server}:",
        *_one_replica(model, capacity, planned),
        f"{rps:,g} / {planned.replicas:,} = {load.per_s:,.1f} images/s each:"
        f" {load.busy:.0%} of that (at most {BUSIEST:.0%})",
        f"batches settle at {load.batch_size} ({_ms(load.batch_s)}); one time in a hundred as many"
        f" as {load.crowd} come meanwhile, and what waits has added up to {_ms(load.wait_s)}",
        f"p99: {_ms(load.p99_s)} of {_ms(p99_s)}, with {MARGIN - 1:.0%} for slow batches",
        _spare(planned, p99_s),
    ]
    screen.out.print("\n  ".join(lines))


def _one_replica(model: ModelInfo, capacity: Capacity, planned: Plan) -> list[str]:
    smallest, largest = min(capacity.batch_seconds), max(capacity.batch_seconds)
    times = ", ".join(
        f"of {size} in {_ms(capacity.batch_seconds[size])}" for size in (smallest, largest)
    )
    lines = [
        f"each: {capacity.device}, {printable(model.engine)}, {counted(capacity.lanes, 'lane')},"
        f" {counted(capacity.decoders, 'decoder')}, batches of up to {capacity.max_batch_size}",
        f"engine: batches {times}, at most {planned.engine_per_s:,.0f} images/s",
    ]
    if math.isinf(planned.decode_per_s):
        return [*lines, "decoding: not known here and left out; send it some photos first"]
    sharing = "on the same cores" if capacity.device == "cpu" else "beside it"
    return [
        *lines,
        f"decoding: {_ms(capacity.decode_s)} an image, at most {planned.decode_per_s:,.0f}/s,"
        f" {sharing}: {planned.most_per_s:,.0f} images/s in all",
    ]


def _spare(planned: Plan, p99_s: float) -> str:
    if planned.without_one is not None:
        return f"one may be missing: then p99 is {_ms(planned.without_one.p99_s)}"
    left = planned.replicas - 1
    if not left:
        return "add one if one may be missing"
    verb = "does" if left == 1 else "do"
    return f"add one if one may be missing: {left:,} {verb} not hold {_ms(p99_s)}"


def _object(model: ModelInfo, capacity: Capacity, planned: Plan, rps: float, p99_s: float) -> Json:
    times: dict[str, Json] = {str(size): each for size, each in capacity.batch_seconds.items()}
    known = math.isfinite(planned.decode_per_s)
    return {
        "model": model.name,
        "version": model.version,
        "engine": model.engine,
        "device": capacity.device,
        "lanes": capacity.lanes,
        "decoders": capacity.decoders,
        "max_batch_size": capacity.max_batch_size,
        "batch_seconds": times,
        "decode_seconds": capacity.decode_s if known else None,
        "rps": rps,
        "p99_s": p99_s,
        "replicas": planned.replicas,
        "most_per_s": planned.most_per_s,
        "engine_per_s": planned.engine_per_s,
        "decode_per_s": planned.decode_per_s if known else None,
        "each": _load(planned.load),
        "without_one": _load(planned.without_one) if planned.without_one else None,
    }


def _load(load: Load) -> Json:
    return {
        "per_s": load.per_s,
        "busy": load.busy,
        "batch_size": load.batch_size,
        "batch_s": load.batch_s,
        "crowd": load.crowd,
        "wait_s": load.wait_s,
        "p99_s": load.p99_s,
    }


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
