"""What people read: a block for each image, a table of models, a table of services."""

import math
from collections.abc import Mapping, Sequence

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from client.cli.screen import Screen
from client.cli.text import printable
from client.health import HealthStatus
from client.results import Classification, ModelInfo, Prediction, Timings

_BAR_CELLS = 24
_MIN_LABEL_CELLS = 16
_EIGHTHS = "▏▎▍▌▋▊▉"
_STATE_STYLES = {"READY": "green", "SERVING": "green", "FAILED": "red", "NOT_SERVING": "red"}


def image_block(
    path: str,
    result: Classification,
    *,
    unicode: bool,
    verbose: bool,
    round_trip_us: int | None = None,
) -> Text:
    """Return a line with the path and the model, then one per label with score and bar."""
    labels = [printable(p.display_name or p.id) for p in result.predictions]
    width = max([_MIN_LABEL_CELLS, *(cell_len(label) for label in labels)])
    lines = [
        Text.assemble(
            (printable(path), "bold"),
            (f"  {printable(result.model)} {printable(result.version)}", "dim"),
        )
    ]
    for rank, (label, prediction) in enumerate(zip(labels, result.predictions, strict=True)):
        lines.append(_label_line(label, width, prediction, best=rank == 0, unicode=unicode))
    if not labels:
        lines.append(Text("  (no label has the minimum score)", "dim"))
    lines += _cautions(result)
    if verbose:
        lines.extend(waterfall(result.timings, width, unicode=unicode, round_trip_us=round_trip_us))
    return Text("\n").join(lines)


def _cautions(result: Classification) -> list[Text]:
    """Return what the model says against its own answer, and its prediction set."""
    lines = []
    if result.novelty is not None and result.novelty.is_novel:
        lines.append(Text("  novel: unlike what the model learned from", "yellow"))
    elif result.abstain:
        lines.append(Text("  unsure: better ask a person", "yellow"))
    if result.prediction_set is not None:
        members = [
            printable(one.display_name or one.id) for one in result.prediction_set.predictions
        ]
        share = f"{result.prediction_set.coverage:.0%}"
        lines.append(Text(f"  {share} set: {', '.join(members) or 'none is sure enough'}", "dim"))
    return lines


def _label_line(
    label: str, width: int, prediction: Prediction, *, best: bool, unicode: bool
) -> Text:
    padding = " " * (width - cell_len(label))
    return Text.assemble(
        (f"  {label}{padding}", "bold" if best else ""),
        f"  {prediction.score:6.1%}  ",
        (bar(prediction.score, unicode=unicode), "green" if best else "blue"),
    )


def bar(score: float, *, unicode: bool) -> str:
    """Return a bar whose length shows a score of 0 to 1; in ASCII without fractions."""
    share = 0.0 if math.isnan(score) else min(max(score, 0.0), 1.0)
    if not unicode:
        return "#" * round(share * _BAR_CELLS)
    full, eighths = divmod(round(share * _BAR_CELLS * 8), 8)
    return "█" * full + (_EIGHTHS[eighths - 1] if eighths else "")


def waterfall(
    timings: Timings, width: int, *, unicode: bool, round_trip_us: int | None = None
) -> list[Text]:
    """Return a line for each step on the server and one for the way there and back where
    `round_trip_us` tells, each bar where its step was in time, and the total. Steps are padded
    to `width` cells, as labels are."""
    steps = [
        ("decode", timings.decode_us),
        ("queue", timings.queue_us),
        ("engine", timings.engine_us),
    ]
    total_us = max(timings.total_us, sum(us for _, us in steps), 1)
    steps.append(("rest", total_us - sum(us for _, us in steps)))
    if round_trip_us is not None:
        # Two clocks, of which only differences are compared; the way back is not known apart.
        steps.append(("network", max(round_trip_us - total_us, 0)))
        total_us += steps[-1][1]
    lines, start_us = [], 0
    for name, us in steps:
        first = round(start_us / total_us * _BAR_CELLS)
        cells = max(round((start_us + us) / total_us * _BAR_CELLS) - first, 1 if us else 0)
        block = ("█" if unicode else "#") * cells
        lines.append(
            Text.assemble(
                (f"  {name:<{width}}{us / 1000:6.1f} ms  ", "dim"), " " * first, (block, "cyan")
            )
        )
        start_us += us
    closed = f", closed by {timings.batch_closed_by}" if timings.batch_closed_by else ""
    batch = f"batch of {timings.batch_size}{printable(closed)}"
    lines.append(Text(f"  {'total':<{width}}{total_us / 1000:6.1f} ms  {batch}", "dim"))
    return lines


def models_table(models: Sequence[ModelInfo], *, unicode: bool) -> Table:
    """Return a row for each model version, the default one marked with a star."""
    table = _table("Model", "Version", "State", "Labels", "Input", "Network", "Accuracy")
    table.columns[0].no_wrap = True
    for model in models:
        reason = f" ({printable(model.state_reason)})" if model.state_reason else ""
        table.add_row(
            Text(f"{printable(model.name)}{' *' if model.is_default else ''}"),
            Text(" ".join(map(printable, [model.version, *model.version_labels]))),
            Text(model.state + reason, _STATE_STYLES.get(model.state, "yellow")),
            Text(_labels_cell(model, ellipsis="…" if unicode else "...")),
            Text(f"{model.input.width} x {model.input.height}"),
            Text(printable(model.network)),
            Text(f"{model.metrics['accuracy']:.1%}" if "accuracy" in model.metrics else ""),
        )
    return table


def _labels_cell(model: ModelInfo, ellipsis: str, most: int = 3) -> str:
    names = [printable(label.display_name or label.id) for label in model.labels[:most]]
    rest = [ellipsis] if len(model.labels) > most else []
    return f"{len(model.labels)}: {', '.join(names + rest)}"


def health_table(statuses: Mapping[str, HealthStatus]) -> Table:
    """Return a row for each service; the server as a whole has the empty name."""
    table = _table("Service", "Status")
    for service, status in statuses.items():
        table.add_row(
            Text(service or "(server)"), Text(status, _STATE_STYLES.get(status, "yellow"))
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def print_table(screen: Screen, table: Table) -> None:
    """Print a table: folded to a terminal's width, as wide as it needs to be elsewhere."""
    screen.out.print(table, soft_wrap=False)
