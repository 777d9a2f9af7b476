"""The trainer's command line: ``python -m trainer``.

Exit codes: 0 done, 1 the data, recipe or run is at fault, 2 usage,
3 ``publish`` refused the model, 130 interrupted.
"""

import logging
from pathlib import Path
from typing import Annotated

import typer

from models.errors import ModelsError
from models.repository import ModelRepository
from trainer.errors import PublishError, TrainerError
from trainer.recipe import bundled_recipes, load_recipe

app = typer.Typer(
    help="Train image classifiers and publish them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_REFUSED = 3

DataOption = Annotated[
    Path, typer.Option("--data", help="Folder that holds the recipe's data folders.")
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]


@app.command()
def recipes() -> None:
    """List the recipes that come with the trainer."""
    for name in bundled_recipes():
        typer.echo(f"{name}: {load_recipe(name).description}")


@app.command()
def fit(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A bundled recipe's name or a TOML file.")
    ],
    data: DataOption,
    runs: Annotated[Path, typer.Option(help="Where runs go.")] = Path("runs"),
) -> None:
    """Train a recipe and print the run's folder."""
    from trainer.fit import fit as run_recipe

    run = run_recipe(load_recipe(recipe), data, runs)
    typer.echo(run.folder)


@app.command()
def evaluate(run: RunArgument, data: DataOption) -> None:
    """Score a run's best checkpoint on the recipe's test photos."""
    from trainer.run import Run
    from trainer.score import score

    metrics = score(Run(run), data).metrics
    typer.echo(metrics.model_dump_json(indent=2))


@app.command()
def publish(
    run: RunArgument,
    data: DataOption,
    repository: Annotated[Path, typer.Option(help="The model repository, a folder.")],
) -> None:
    """Publish a run's best checkpoint as the next version of its model."""
    from trainer.publish import publish as publish_run
    from trainer.run import Run
    from trainer.score import score

    scored = score(Run(run), data)
    version = publish_run(scored, ModelRepository(repository))
    typer.echo(
        f"published {scored.recipe.model} version {version}:"
        f" accuracy {scored.metrics.accuracy:.2%} on {scored.metrics.images} test photos"
    )


def main() -> int:
    """Run the command line and return its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except PublishError as error:
        typer.echo(f"refused: {error}", err=True)
        return _REFUSED
    except (TrainerError, ModelsError) as error:
        typer.echo(f"error: {error}", err=True)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
