"""What was measured on a GPU, as data and as tables."""

from dataclasses import dataclass

from benchmarks.gpu.engines import Rate
from benchmarks.gpu.served import Served


@dataclass(frozen=True)
class Results:
    """Everything of one run.

    Attributes:
        machine: GPU, cores and versions.
        alone: By batch size and engine, images a second from the device's memory; or why none.
        from_the_host: By batch size, images a second of the serving engine from the host's memory.
        served: By the server's fronts and by how they were asked.
    """

    machine: str
    alone: dict[int, dict[str, Rate | str]]
    from_the_host: dict[int, float]
    served: dict[str, dict[str, Served]]


def tables(results: Results) -> list[str]:
    """Lines of Markdown; images a second."""
    return [results.machine, "", *_alone(results), "", *_served(results)]


def _alone(results: Results) -> list[str]:
    names = list(dict.fromkeys(name for row in results.alone.values() for name in row))
    lines = [_row("batch", *names, "from the host"), _row(*["---"] * (len(names) + 2))]
    for size, row in results.alone.items():
        cells = (_cell(row.get(name, "not measured")) for name in names)
        lines.append(_row(f"{size}", *cells, f"{results.from_the_host[size]:.0f}"))
    return lines


def _served(results: Results) -> list[str]:
    best = max(results.from_the_host.values())
    heads = ("fronts", "asked for", "images/s", "over the engine", "GPU busy", "decode, queue,"
             " engine, whole, us", "in a batch")  # fmt: skip
    lines = [_row(*heads), _row(*["---"] * len(heads))]
    for fronts, ways in results.served.items():
        for way, one in ways.items():
            busy = "not measured" if one.busy_share is None else f"{one.busy_share:.0%}"
            steps = [f"{value:.0f}" for value in one.steps.values()]
            lines.append(
                _row(
                    fronts,
                    way,
                    f"{one.per_s:.0f}",
                    f"{one.per_s / best:.2f}",
                    busy,
                    ", ".join(steps[:-1]),
                    steps[-1] if steps else "",
                )
            )
    return lines


def _cell(found: Rate | str) -> str:
    return f"{found.median:.0f}" if isinstance(found, Rate) else "failed"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
