"""The trainer's command line: ``python -m trainer``. The commands are in ``trainer.cli``.

Exit codes: 0 done, 1 the data, recipe or run is at fault, 2 usage,
3 ``publish`` refused the model, 130 interrupted.
"""

import logging

import typer

from models.errors import ModelsError
from trainer.cli.evaluation import compare, evaluate, report
from trainer.cli.photos import audit, ingest
from trainer.cli.publishing import export, publish, recalibrate, sign
from trainer.cli.training import fit, lr_find, recipes
from trainer.errors import InterruptedRunError, PublishError, TrainerError

app = typer.Typer(
    help="Train image classifiers and publish them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _command in (
    recipes,
    fit,
    lr_find,
    audit,
    evaluate,
    report,
    compare,
    export,
    publish,
    sign,
    ingest,
    recalibrate,
):
    app.command()(_command)

_REFUSED, _INTERRUPTED = 3, 130
_ROOMS = ("models", "trainer")
_OF_AUDIT = ("cleanlab", "pandas", "sklearn")


def main() -> int:
    """Run the command line and return its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # It advertises, and tells at length which devices there are not. Its own loggers' levels are
    # set anew when it is imported, those of its modules are not.
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(f"{library}.utilities.rank_zero").setLevel(logging.WARNING)
    # What it says of opening the range test's own checkpoint helps nobody.
    checkpoints = "pytorch_lightning.trainer.connectors.checkpoint_connector"
    logging.getLogger(checkpoints).setLevel(logging.WARNING)
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
    except ModuleNotFoundError as error:
        room = (error.name or "").partition(".")[0]
        if room in _ROOMS:
            raise
        extra = "audit" if room in _OF_AUDIT else "trainer"
        typer.echo(f"error: {room} is missing: pip install 'menagerie[{extra}]'", err=True)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
