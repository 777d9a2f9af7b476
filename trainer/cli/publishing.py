"""``export``, ``publish``, ``sign`` and ``recalibrate``."""

from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.options import CacheOption, DataOption, OthersOption, RunArgument
from trainer.errors import RunError


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


def publish(
    run: RunArgument,
    repository: Annotated[
        Path, typer.Option(help="The model repository, a folder; made if it is new.")
    ],
    data: DataOption = None,
    force: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Publish although a gate fails, and record why."),
    ] = None,
    twin: Annotated[bool, typer.Option(help="Add the torch.export twin, model.pt2.")] = True,
    int8: Annotated[
        bool, typer.Option(help="Offer the twin in int8 to servers, if it answers as well.")
    ] = True,
    others: OthersOption = None,
    private_key: Annotated[
        Path | None, typer.Option("--sign-key", help="Sign it with this private key, PEM.")
    ] = None,
    cache: CacheOption = None,
) -> None:
    """Publish a run's best checkpoint as the next version, if it passes its gates."""
    from models.repository import ModelRepository
    from trainer.data import default_cache
    from trainer.publish import publish as publish_run
    from trainer.run import Run
    from trainer.score import score

    chosen = Run(run)
    _make(repository)  # before minutes of scoring
    scored = score(chosen, data, cache or default_cache())
    published = publish_run(
        scored,
        ModelRepository(repository),
        force=force,
        twin=twin,
        int8=int8,
        others=others,
        private_key=private_key,
    )
    for gate in published.gates:
        typer.echo(gate)
    typer.echo(
        f"published {scored.recipe.model} version {published.version}:"
        f" accuracy {scored.metrics.accuracy:.2%} on {scored.metrics.images} test photos"
    )


def _make(repository: Path) -> None:
    """Make the repository's folder if it is new. Its parent must be there: a name that is
    mistyped early on makes no tree of folders.

    Raises:
        RunError: It cannot be made.
    """
    try:
        repository.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"--repository {repository}: {error.strerror}") from error


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


def recalibrate(
    version: Annotated[Path, typer.Argument(metavar="VERSION", help="A version's folder.")],
    data: Annotated[Path, typer.Option("--data", help="The photos it was trained on.")],
    others: OthersOption = None,
    cache: CacheOption = None,
) -> None:
    """Publish a version again, its module unchanged, with calibration and figures made anew."""
    from models.repository import ModelRepository
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
