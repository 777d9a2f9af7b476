"""``audit`` and ``ingest``: what the photos are before they are trained on."""

from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.options import CacheOption, WeightsOption
from trainer.cli.settings import settings_of
from trainer.recipe import load_recipe


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
        settings, _ = settings_of(recipe, data, weights, [], cache)
        settings = shortened(settings, epochs)
        root = resolve_data(data, settings.data, cache)
    print_audit(run_audit(settings, root, output, cache, folds))


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
        typer.echo(f"{label}: {count} {'photo' if count == 1 else 'photos'}")
    typer.echo(f"discarded: {found.discarded}")
