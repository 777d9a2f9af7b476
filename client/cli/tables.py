"""From a journal to the file that people open: CSV, JSON lines or Parquet, in constant memory."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from client.cli.extras import hint
from client.cli.journal import entries, without_header
from client.cli.json_lines import Json

_ROWS_OF_A_GROUP = 20_000


class MissingLibraryError(Exception):
    """A library that a format needs is not installed."""


def write_csv(journal: Path, output: Path, top_k: int) -> None:
    """Write CSV (RFC 4180) in UTF-8, a row for each photo."""
    names = _columns(top_k)
    with output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(_row(entry, top_k) for entry in entries(journal))


def write_json_lines(journal: Path, output: Path, _top_k: int) -> None:
    """Write one JSON object a line."""
    with output.open("wb") as file:
        without_header(journal, file)


def write_parquet(journal: Path, output: Path, top_k: int) -> None:
    """Write Parquet, compressed with zstd.

    Raises:
        MissingLibraryError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 (an extra)
        from pyarrow import parquet  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise MissingLibraryError(f"Parquet needs: {hint('parquet')}") from error
    kinds = {
        name: pa.float64() if name.startswith("score") else pa.string() for name in _columns(top_k)
    }
    schema = pa.schema(list(kinds.items()))
    with parquet.ParquetWriter(output, schema, compression="zstd") as writer:
        for rows in _groups(_row(entry, top_k) for entry in entries(journal)):
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


WRITERS: dict[str, Callable[[Path, Path, int], None]] = {
    ".csv": write_csv,
    ".jsonl": write_json_lines,
    ".parquet": write_parquet,
}


def _columns(top_k: int) -> list[str]:
    ranked = [f"{name}{_suffix(rank)}" for rank in range(top_k) for name in ("label", "score")]
    return ["path", *ranked, "model", "version", "error"]


def _suffix(rank: int) -> str:
    return "" if rank == 0 else f"_{rank + 1}"


def _row(entry: dict[str, Json], top_k: int) -> dict[str, Json]:
    row = {name: entry.get(name) for name in ("path", "model", "version")}
    failed, found = entry.get("error"), entry.get("predictions")
    row["error"] = failed["message"] if isinstance(failed, dict) else None
    for rank, prediction in enumerate(found[:top_k] if isinstance(found, list) else []):
        if isinstance(prediction, dict):
            row[f"label{_suffix(rank)}"] = prediction["label"]
            row[f"score{_suffix(rank)}"] = prediction["score"]
    return row


def _groups(rows: Iterator[dict[str, Json]]) -> Iterator[list[dict[str, Json]]]:
    group: list[dict[str, Json]] = []
    for row in rows:
        group.append(row)
        if len(group) == _ROWS_OF_A_GROUP:
            yield group
            group = []
    if group:
        yield group
