"""``evaluate``, ``report`` and ``compare``."""

from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.options import CacheOption, DataOption, OthersOption, RunArgument


def evaluate(
    run: RunArgument,
    data: DataOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
    cache: CacheOption = None,
) -> None:
    """Score a run's best checkpoint on the recipe's test photos."""
    from trainer.data import default_cache
    from trainer.run import Run
    from trainer.score import score
    from trainer.tables import print_evaluation

    evaluation = score(Run(run), data, cache or default_cache()).evaluation()
    text = evaluation.model_dump_json(indent=2)
    Run(run).write("evaluation.json", text)
    if as_json:
        typer.echo(text)
    else:
        print_evaluation(evaluation)


def report(
    run: RunArgument,
    data: DataOption = None,
    others: OthersOption = None,
    cache: CacheOption = None,
) -> None:
    """Write a run's report.html, one page with every plot, and print its path."""
    from trainer.data import default_cache
    from trainer.report import write_report
    from trainer.run import Run
    from trainer.score import score

    cache = cache or default_cache()
    typer.echo(write_report(score(Run(run), data, cache), cache, others))


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="A run, or a version's folder.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="The other one.")],
    data: DataOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
    cache: CacheOption = None,
) -> None:
    """Compare two models on the same test photos."""
    from trainer.compare import compare as compare_sides
    from trainer.data import default_cache
    from trainer.tables import print_comparison

    comparison = compare_sides(first, second, data, cache or default_cache())
    if as_json:
        typer.echo(comparison.model_dump_json(indent=2))
    else:
        print_comparison(comparison)
