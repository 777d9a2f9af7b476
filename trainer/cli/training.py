"""``recipes``, ``fit`` and ``lr-find``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.cli.options import CacheOption, DataOption, RecipeArgument, SetOption, WeightsOption
from trainer.cli.settings import settings_of, settings_of_version
from trainer.recipe import bundled_recipes, load_recipe

if TYPE_CHECKING:
    from trainer.run import Run


def recipes() -> None:
    """List the recipes that come with the trainer."""
    for name in bundled_recipes():
        recipe = load_recipe(name)
        typer.echo(f"{name}: {recipe.description}")
        if recipe.background is not None:
            for title, text in recipe.background.model_dump().items():
                typer.echo(f"    {title.replace('_', ' ')}: {text}")


def fit(
    recipe: RecipeArgument = None,
    data: DataOption = None,
    weights: WeightsOption = None,
    overrides: SetOption = None,
    exclude: Annotated[
        Path | None, typer.Option(help="CSV file whose column 'path' names photos to leave out.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="VERSION", help="Go on from a published version: its recipe, weights."
        ),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a stopped run.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where runs go.")] = Path("runs"),
    cache: CacheOption = None,
) -> None:
    """Train a recipe, or any folder of class folders, and print the run's folder."""
    if start is not None and (recipe or weights):
        raise typer.BadParameter("a version has its recipe and weights: give --from without them")
    if resume is not None and any((recipe, data, weights, overrides, exclude, start)):
        raise typer.BadParameter("a run is resumed as it was begun: give --resume alone")
    if resume is not None:
        _resume(resume, cache)
        return
    # Read before torch is loaded, which takes seconds.
    if start is not None:
        settings = settings_of_version(start, overrides or [])
    else:
        settings, data = settings_of(recipe, data, weights, overrides or [], cache)
    from trainer import fit as training
    from trainer.data import default_cache

    cache = cache or default_cache()
    _print_folder(training.fit(settings, data, runs, cache=cache, exclude=exclude))


def _resume(run: Path, cache: Path | None) -> None:
    from trainer import fit as training
    from trainer.data import default_cache
    from trainer.run import Run

    _print_folder(training.resume(Run(run), cache or default_cache()))


def _print_folder(run: "Run") -> None:
    """Once, however many processes torchrun started."""
    if os.environ.get("RANK", "0") == "0":
        typer.echo(run.folder)


def lr_find(
    recipe: RecipeArgument = None,
    data: DataOption = None,
    weights: WeightsOption = None,
    overrides: SetOption = None,
    output: Annotated[Path, typer.Option(help="The plot, a PNG file.")] = Path("lr-find.png"),
    cache: CacheOption = None,
) -> None:
    """Plot the loss over growing learning rates and suggest one."""
    from trainer.data import default_cache
    from trainer.lr_find import find_learning_rate

    settings, data = settings_of(recipe, data, weights, overrides or [], cache)
    suggestion = find_learning_rate(settings, data, output, cache or default_cache())
    typer.echo(f"suggested max_learning_rate: {suggestion:.1e} (plot: {output})")
