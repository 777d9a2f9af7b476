"""``python -m tests.load.folder --photos 100000``: a large folder, killed again and again.

Lays so many links to a few photos in one folder, one in a thousand of them no photo, and exports
it over three replicas behind a name. The export gets SIGKILL `--kills` times, a replica too, and
each time the same command goes on. In the end the table must have every photo once, in order and
with its own label; the replicas may have been asked twice only for what was under way when a kill
came. Prints one JSON object, with the export's memory as it went and what each replica answered.
Needs root, for a network namespace.
"""

import argparse
import asyncio
import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from client.crowd import DEFAULT_IN_FLIGHT
from tests.artifacts import publish_tiny_artifact
from tests.load.cluster import NAME, ROOT, UNSHARE, Cluster, answered, name_server
from tests.load.names import NameServer
from tests.load.photos import photos
from tests.load.watching import holdings

REPLICAS = 3
_BROKEN_EVERY = 1000
_LOOK_S = 0.1
_UNDER_LOAD_S = 5.0  # after which a replica is killed
_UNDER_WAY = 2 * DEFAULT_IN_FLIGHT  # of an export, at most: half of them wait to be written
_REACHED = ("OK", "INVALID_ARGUMENT")


@dataclass
class Run:
    """One start of the export.

    Attributes:
        seconds: From start to end.
        rss_mb: Resident memory as it went.
    """

    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    rss_mb: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Folder:
    """A folder of links, and the label of each."""

    path: Path
    labels: Mapping[str, str]  # "" where it is no photo


def lay_out(root: Path, count: int) -> Folder:
    """Make the folder."""
    made = photos(seed=7)
    sources, folder = root / "sources", root / "photos"
    sources.mkdir()
    folder.mkdir()
    kinds = [(photo.data, max(photo.scores, key=lambda x: photo.scores[x])) for photo in made.good]
    kinds.append((made.bad[0].data, ""))
    for index, (data, _) in enumerate(kinds):
        (sources / str(index)).write_bytes(data)
    labels = {}
    for index in range(count):
        broken = index % _BROKEN_EVERY == _BROKEN_EVERY // 2
        kind = len(kinds) - 1 if broken else index % (len(kinds) - 1)
        path = folder / f"{index:06}.jpg"
        path.symlink_to(sources / str(kind))
        labels[str(path)] = kinds[kind][1]
    return Folder(folder, labels)


async def drill(root: Path, count: int, kills: int, names: NameServer) -> dict[str, object]:
    """All of it; what happened."""
    (root / "models").mkdir()
    publish_tiny_artifact(root / "models")
    folder, table = lay_out(root, count), root / "table.csv"
    cluster = Cluster(str(root / "models"), names)
    first, *_ = await cluster.add(REPLICAS)
    runs = []
    try:
        for stop in range(1, kills + 1):
            runs.append(await _export(folder.path, table, until=count * stop // (kills + 1)))
        last = asyncio.create_task(_export(folder.path, table))
        await asyncio.sleep(_UNDER_LOAD_S)
        of_the_killed = answered(first, *_REACHED)
        await cluster.kill(first)
        await cluster.add(1)
        runs.append(await last)
        each = {first: of_the_killed}
        each |= {host: answered(host, *_REACHED) for host in cluster.running}
    finally:
        for process in cluster.running.values():
            process.kill()
            process.wait()
    return {
        "photos": count,
        "kills": kills,
        "seconds": round(sum(run.seconds for run in runs), 1),
        "table": _wrong(table, folder.labels),
        "asked": int(sum(each.values())),
        "asked_at_most": count + (kills + 1) * _UNDER_WAY,
        "answered_by_replica": each,
        "rss_mb": [_spread(run.rss_mb) for run in runs],
    }


async def _export(folder: Path, table: Path, until: int | None = None) -> Run:
    """Export, and kill it once its journal has `until` photos."""
    journal, run = table.with_name(table.name + ".journal"), Run()
    async with _command("export", str(folder), "-o", str(table)) as process:
        lines, position = 0, 0
        while process.returncode is None:
            try:
                async with asyncio.timeout(_LOOK_S):
                    await process.wait()
            except TimeoutError:
                with suppress(KeyError, OSError):  # it is ending, and holds no memory any more
                    run.rss_mb.append(holdings(process.pid).rss_bytes / 1e6)
                lines, position = _lines(journal, lines, position)
                if until is not None and lines > until:
                    process.kill()
        code = await process.wait()
        assert code == (1 if until is None else -9), f"the export ended with {code}"
    run.seconds = time.monotonic() - run.started
    return run


@asynccontextmanager
async def _command(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "client", *arguments, "--server", NAME,
        cwd=ROOT, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _lines(journal: Path, lines: int, position: int) -> tuple[int, int]:
    """Lines of the journal by now, reading only what is new."""
    if not journal.exists():
        return lines, position
    with journal.open("rb") as file:
        file.seek(position)
        new = file.read()
    return lines + new.count(b"\n"), position + len(new)


def _wrong(table: Path, labels: Mapping[str, str]) -> dict[str, int]:
    """Compare the table with what it should say."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = [(row["path"], row["label"], row["error"]) for row in csv.DictReader(file)]
    paths = [path for path, _, _ in rows]
    return {
        "rows": len(rows),
        "lost": len(labels.keys() - set(paths)),
        "repeated": len(paths) - len(set(paths)),
        "in_disorder": int(paths != sorted(paths)),
        "wrong": sum(
            label != labels[path] or bool(label) == bool(error) for path, label, error in rows
        ),
        "no_photo": sum(bool(error) for _, _, error in rows),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    """At a tenth of a run, at its end, and the most."""
    tenth = values[len(values) // 10]
    return {
        "at_a_tenth": round(tenth, 1),
        "at_the_end": round(values[-1], 1),
        "most": round(max(values), 1),
    }


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.folder", description=__doc__)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        again = [*UNSHARE, sys.executable, "-m", "tests.load.folder", *sys.argv[1:], "--inside"]
        os.execvp(again[0], again)  # noqa: S606
    with tempfile.TemporaryDirectory() as root, name_server() as names:
        found = asyncio.run(drill(Path(root), options.photos, options.kills, names))
    print(json.dumps(found))
    table = found["table"]
    assert isinstance(table, dict)
    good = not any(table[kind] for kind in ("lost", "repeated", "in_disorder", "wrong"))
    return 0 if good and int(str(found["asked"])) <= int(str(found["asked_at_most"])) else 1


if __name__ == "__main__":
    sys.exit(main())
