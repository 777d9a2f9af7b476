"""The trainer's command line: ``python -m trainer``.

Exit codes: 0 done, 1 the data, recipe or run is at fault, 2 usage,
3 ``publish`` refused the model, 130 interrupted.
"""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import ModelsError
from models.repository import ModelRepository
from trainer.errors import InterruptedRunError, PublishError, RecipeError, RunError, TrainerError
from trainer.recipe import Recipe, bundled_recipes, load_recipe, override, parse_recipe

if TYPE_CHECKING:
    from trainer.run import Run

app = typer.Typer(
    help="Train image classifiers and publish them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_REFUSED, _INTERRUPTED = 3, 130

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder or archive with the recipe's photos. Default: the recipe's public data set"
        " (fit), or what the run trained on.",
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        help="Where archives are unpacked and decoded photos kept."
        " Default: $MENAGERIE_CACHE, or menagerie in the user's cache folder."
    ),
]
OthersOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder with photos that are of none of the classes: they choose the novelty score"
        " and say what it detects."
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]
RecipeArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[RECIPE]",
        help="A bundled recipe's name, a TOML file, or a run's recipe.json."
        " Default: settings chosen from the data.",
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        help="What the body starts from: imagenet, a file (.pth, .ckpt, .safetensors), the folder"
        " of a run or of a published version, or none."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a recipe's key: --set fit.epochs=3. May be given again for another one.",
    ),
]


@app.command()
def recipes() -> None:
    """List the recipes that come with the trainer."""
    for name in bundled_recipes():
        recipe = load_recipe(name)
        typer.echo(f"{name}: {recipe.description}")
        if recipe.background is not None:
            for title, text in recipe.background.model_dump().items():
                typer.echo(f"    {title.replace('_', ' ')}: {text}")


@app.command()
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
        settings = _settings_of(start, overrides or [])
    else:
        settings, data = _settings(recipe, data, weights, overrides or [], cache)
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


@app.command("lr-find")
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

    settings, data = _settings(recipe, data, weights, overrides or [], cache)
    suggestion = find_learning_rate(settings, data, output, cache or default_cache())
    typer.echo(f"suggested max_learning_rate: {suggestion:.1e} (plot: {output})")


@app.command()
def audit(
    data: Annotated[Path, typer.Option("--data", help="Folder or archive with the photos.")],
    output: Annotated[Path, typer.Option(help="Folder for audit.html and the CSV files.")] = Path(
        "audit"
    ),
    recipe: Annotated[
        str | None, typer.Option(help="Names the photos and the network. Default: by the data.")
    ] = None,
    weights: WeightsOption = None,
    folds: Annotated[int, typer.Option(min=2, help="Networks that are trained.")] = 5,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of each of them.")] = None,
    cache: CacheOption = None,
) -> None:
    """Find wrong labels, duplicates and broken files; exclude.csv is for fit --exclude."""
    from trainer.audit import audit as run_audit
    from trainer.audit.recipe import audit_recipe, shortened
    from trainer.audit.summary import print_audit
    from trainer.data import default_cache, resolve_data
    from trainer.default_recipe import ANY_FOLDERS

    cache = cache or default_cache()
    if recipe is None:
        root = resolve_data(data, ANY_FOLDERS, cache)
        settings = audit_recipe(root, weights or "none", epochs)
    else:
        settings, _ = _settings(recipe, data, weights, [], cache)
        settings = shortened(settings, epochs)
        root = resolve_data(data, settings.data, cache)
    print_audit(run_audit(settings, root, output, cache, folds))


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def export(
    run: RunArgument,
    output: Annotated[Path, typer.Option(help="Folder for model.pt and model.pt2.")],
) -> None:
    """Write a run's TorchScript module and its torch.export twin, without publishing."""
    from trainer.publish import write_modules
    from trainer.run import Run

    try:
        output.mkdir(parents=True, exist_ok=True)
        write_modules(output, Run(run), twin=True)
    except OSError as error:
        raise RunError(f"{output} cannot be written: {error.strerror}") from error
    typer.echo(output)


@app.command()
def publish(
    run: RunArgument,
    repository: Annotated[Path, typer.Option(help="The model repository, a folder.")],
    data: DataOption = None,
    force: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Publish although a gate fails, and record why."),
    ] = None,
    twin: Annotated[bool, typer.Option(help="Add the torch.export twin, model.pt2.")] = True,
    others: OthersOption = None,
    private_key: Annotated[
        Path | None, typer.Option("--sign-key", help="Sign it with this private key, PEM.")
    ] = None,
    cache: CacheOption = None,
) -> None:
    """Publish a run's best checkpoint as the next version, if it passes its gates."""
    from trainer.data import default_cache
    from trainer.publish import publish as publish_run
    from trainer.run import Run
    from trainer.score import score

    if not repository.is_dir():  # said before minutes of scoring
        raise RunError(f"--repository {repository} is no folder: make it if the name is right")
    scored = score(Run(run), data, cache or default_cache())
    published = publish_run(
        scored,
        ModelRepository(repository),
        force=force,
        twin=twin,
        others=others,
        private_key=private_key,
    )
    for gate in published.gates:
        typer.echo(gate)
    typer.echo(
        f"published {scored.recipe.model} version {published.version}:"
        f" accuracy {scored.metrics.accuracy:.2%} on {scored.metrics.images} test photos"
    )


@app.command()
def sign(
    version: Annotated[Path, typer.Argument(metavar="VERSION", help="A version's folder.")],
    key: Annotated[Path, typer.Option(help="The private key, PEM.")],
) -> None:
    """Verify a published version and sign it."""
    from models.artifact import read_artifact
    from models.signature import sign as write_signature

    read_artifact(version.resolve())
    write_signature(version, key)
    typer.echo(f"signed {version}")


@app.command()
def ingest(
    capture: Annotated[Path, typer.Argument(metavar="CAPTURE", help="A server's capture folder.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Where the class folders lie that photos go to.")
    ] = None,
    decisions: Annotated[
        Path | None, typer.Option(help="What the review page saved. Default: write that page.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Its [labels] say which folder a label's photos are in. Default: alike."),
    ] = None,
) -> None:
    """Review the photos that a server captured, and sort them into class folders."""
    from trainer.ingest import ingest as sort_in
    from trainer.ingest import read_decisions, write_review

    if decisions is None:
        typer.echo(write_review(capture))
        return
    if data is None:
        raise typer.BadParameter("give --data DIR: where the photos are to go")
    folders: dict[str, str] = {}
    if recipe is not None:
        labels = load_recipe(recipe).labels
        folders = {spec.id: folder for folder, spec in reversed(labels.items())}
    found = sort_in(capture, data, read_decisions(decisions), folders)
    for label, count in sorted(found.added.items()):
        typer.echo(f"{label}: {count} photos")
    typer.echo(f"discarded: {found.discarded}")


@app.command()
def recalibrate(
    version: Annotated[Path, typer.Argument(metavar="VERSION", help="A version's folder.")],
    data: Annotated[Path, typer.Option("--data", help="The photos it was trained on.")],
    others: OthersOption = None,
    cache: CacheOption = None,
) -> None:
    """Publish a version again, its module unchanged, with calibration and figures made anew."""
    from trainer.data import default_cache
    from trainer.recalibrate import recalibrate as publish_again

    folder = version.resolve()
    if not folder.name.isdecimal():
        raise typer.BadParameter(f"{version} is not REPOSITORY/MODEL/VERSION")
    repository, model = ModelRepository(folder.parent.parent), folder.parent.name
    number = publish_again(
        repository, model, int(folder.name), data, cache or default_cache(), others
    )
    typer.echo(f"published {model} version {number}")


def _settings(
    reference: str | None,
    data: Path | None,
    weights: str | None,
    overrides: list[str],
    cache: Path | None,
) -> tuple[Recipe, Path | None]:
    """The recipe, and its photos: a folder where the recipe was chosen by them."""
    if reference is not None:
        chosen = [] if weights is None else [f"network.weights={weights}"]
        return load_recipe(reference, [*overrides, *chosen]), data
    if data is None:
        raise RecipeError("give a recipe, or --data DIR to train by the defaults")
    from trainer.data import default_cache, resolve_data
    from trainer.default_recipe import ANY_FOLDERS, default_recipe

    root = resolve_data(data, ANY_FOLDERS, cache or default_cache())
    # An archive's name, not that of the folder in the cache it is unpacked to.
    title = data.name.partition(".")[0] if data.is_file() else ""
    document = default_recipe(root, weights or "none", title).model_dump(mode="json")
    return parse_recipe(override(document, overrides), "the default recipe"), root


def _settings_of(version: Path, overrides: list[str]) -> Recipe:
    """The recipe of a published version, starting from its weights."""
    from models.manifest import read_manifest
    from trainer.recipe import override

    document = {**read_manifest(version).recipe}
    return parse_recipe(
        override(document, [f"network.weights={version.resolve()}", *overrides]), str(version)
    )


def main() -> int:
    """Run the command line and return its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # It advertises, and tells at length which devices there are not. Its own loggers' levels are
    # set anew when it is imported, those of its modules are not.
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(f"{library}.utilities.rank_zero").setLevel(logging.WARNING)
    try:
        app()
    except InterruptedRunError as error:
        typer.echo(str(error), err=True)
        return _INTERRUPTED
    except SystemExit as ended:  # typer's, also of a Ctrl-C while nothing trains
        if ended.code != _INTERRUPTED:
            raise
        typer.echo("interrupted", err=True)
        return _INTERRUPTED
    except PublishError as error:
        typer.echo(f"refused: {error}", err=True)
        return _REFUSED
    except (TrainerError, ModelsError) as error:
        typer.echo(f"error: {error}", err=True)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
