"""Drive Lightning: the only file that builds its Trainer."""

import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import pytorch_lightning as lightning
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.trainer.states import TrainerStatus
from pytorch_lightning.tuner.tuning import Tuner

from trainer.averaging import AveragedWeights
from trainer.callbacks import LossGuard, Plateau, StopRequest, WaitMeter
from trainer.checkpoints import WholeCheckpoints
from trainer.data import EvaluationImages, TrainingImages
from trainer.errors import InterruptedRunError, RunError
from trainer.history import HistoryLogger
from trainer.loaders import evaluation_loader, training_loader
from trainer.processes import Processes
from trainer.progress import Progress
from trainer.recipe import FitSpec, Recipe
from trainer.run import Run
from trainer.task import ClassificationTask

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STEPS_BETWEEN_LOGS = 5  # at most: some thousand rows of metrics.csv in a long run
_LOGS_PER_EPOCH = 10  # at least: a short epoch's learning rates are a curve too

SignalHandler = Callable[[int, FrameType | None], None]

ALONE = Processes(world=1, local=1, rank=0)


def train(
    task: ClassificationTask,
    training: TrainingImages,
    validation: EvaluationImages,
    run: Run,
    *,
    finished_epochs: int = 0,
    together: Processes = ALONE,
) -> None:
    """Train ``task`` as its recipe says; checkpoints and logs go to the run's folder.

    Args:
        task: With the weights to start from.
        training: Photos to train on.
        validation: Photos that choose the best checkpoint.
        run: Its folder exists already.
        finished_epochs: More than 0: go on from the run's last checkpoint, which is of so many.
        together: The processes that train together.

    Raises:
        RunError: The loss became NaN or infinite, or the folder cannot be written.
        InterruptedRunError: Ctrl-C; the checkpoints so far are kept.
    """
    recipe = task.recipe
    batches = training_loader(
        recipe, training, together.world, together.rank, epoch=finished_epochs
    )
    stop = StopRequest()
    trainer = _lightning(
        recipe.fit,
        together,
        recipe.fit.epochs,
        [*_callbacks(run, recipe), stop],
        _loggers(run),
        log_interval=max(1, min(_STEPS_BETWEEN_LOGS, len(batches) // _LOGS_PER_EPOCH)),
    )
    with (
        _filtered_warnings(),
        _disk_errors(run),
        _interruptible(trainer, stop.request, partial(_kept, run)),
    ):
        trainer.fit(
            task,
            batches,
            evaluation_loader(validation),
            ckpt_path=str(run.last_checkpoint) if finished_epochs else None,
            weights_only=True,  # a checkpoint is data, never code
        )


def range_test(
    task: ClassificationTask,
    training: TrainingImages,
    lowest: float,
    highest: float,
    steps: int,
) -> list[float]:
    """Train for ``steps`` steps at learning rates that grow from ``lowest`` to ``highest``.

    Returns:
        The rate of each step; fewer than ``steps`` where the loss ran away.

    Raises:
        RunError: The test was cut short.
        InterruptedRunError: Ctrl-C.
    """
    stop = StopRequest()
    batches = training_loader(task.recipe, training)
    with TemporaryDirectory() as folder, _filtered_warnings():
        trainer = _lightning(task.recipe.fit, ALONE, steps, scratch=Path(folder))

        def request(number: int, frame: FrameType | None) -> None:
            stop.request(number, frame)
            trainer.should_stop = True  # the tuner runs no callbacks but its own

        with _interruptible(trainer, request, _nothing_kept):
            found = Tuner(trainer).lr_find(
                task,
                batches,
                min_lr=lowest,
                max_lr=highest,
                num_training=steps,
                update_attr=False,
            )
    if stop.requested:
        raise InterruptedRunError(_nothing_kept())
    if found is None:
        raise RunError("the learning-rate range test was cut short")
    return [float(rate) for rate in found.results["lr"]]


def _lightning(
    fit: FitSpec,
    together: Processes,
    epochs: int,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
    *,
    log_interval: int | None = None,
    scratch: Path | None = None,
) -> lightning.Trainer:
    """Without callbacks nothing is kept but what Lightning needs itself, in ``scratch``."""
    clip, by = _clipping(fit)
    return lightning.Trainer(
        accelerator="auto",
        devices=together.local,
        num_nodes=together.nodes,
        # While the body is frozen its parameters get no gradient.
        strategy=DDPStrategy(find_unused_parameters=fit.head_epochs > 0)
        if together.world > 1
        else "auto",
        max_epochs=epochs,
        precision=fit.precision,
        gradient_clip_val=clip,
        gradient_clip_algorithm=by,
        deterministic=fit.deterministic,
        callbacks=list(callbacks),
        plugins=WholeCheckpoints(),
        default_root_dir=scratch,
        enable_checkpointing=bool(callbacks),
        logger=list(loggers),
        log_every_n_steps=log_interval,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=False,
    )


def _clipping(fit: FitSpec) -> tuple[float | None, str]:
    """Where gradients are clipped, and by what."""
    if fit.gradient_clip_value:
        return fit.gradient_clip_value, "value"
    return fit.gradient_clip_norm or None, "norm"


def _callbacks(run: Run, recipe: Recipe) -> list[Callback]:
    """In the order in which they run at an epoch's end: what a checkpoint saves comes before it."""
    fit = recipe.fit
    callbacks: list[Callback] = [LossGuard(), WaitMeter(), Progress()]
    if fit.schedule == "plateau":
        callbacks.append(Plateau(fit.plateau_patience, fit.plateau_factor))
    if fit.ema_decay > 0:
        callbacks.append(AveragedWeights(fit.ema_decay))
    if fit.early_stopping_patience:
        callbacks.append(
            EarlyStopping(
                "validation/loss",
                patience=fit.early_stopping_patience,
                check_on_train_epoch_end=True,
            )
        )
    return [*callbacks, *_checkpoints(run, fit)]


def _checkpoints(run: Run, fit: FitSpec) -> list[Callback]:
    """The best epoch's and the last one's: save_last would save the last only where it is best."""
    best = ModelCheckpoint(
        run.checkpoints,
        filename="best",
        monitor=fit.best,
        mode="min" if fit.best.endswith("loss") else "max",
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )
    last = ModelCheckpoint(
        run.checkpoints,
        filename=run.last_checkpoint.stem,
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )
    return [best, last]


def _loggers(run: Run) -> list[Logger]:
    return [
        HistoryLogger(run.folder / "metrics.csv"),
        TensorBoardLogger(run.folder, name="", version="tensorboard"),
    ]


@contextmanager
def _interruptible(
    trainer: lightning.Trainer, request: SignalHandler, kept: Callable[[], str]
) -> Iterator[None]:
    """Call ``request`` on Ctrl-C or SIGTERM, and leave the rest to the caller.

    Lightning itself would end the process.
    """
    before = {number: signal.signal(number, request) for number in _STOP_SIGNALS}
    try:
        yield
    except SystemExit as error:
        if trainer.state.status is not TrainerStatus.INTERRUPTED:
            raise
        raise InterruptedRunError(kept()) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _kept(run: Run) -> str:
    if run.last_checkpoint.is_file():
        return f"resume with --resume {run.folder}"
    return "no epoch was finished"


def _nothing_kept() -> str:
    return "the range test says nothing before its end"


@contextmanager
def _disk_errors(run: Run) -> Iterator[None]:
    """The photos are in memory or mapped by now: what fails is writing the run's folder."""
    try:
        yield
    except OSError as error:
        resumable = run.last_checkpoint.is_file()
        kept = f"; mend it and resume with --resume {run.folder}" if resumable else ""
        raise RunError(
            f"{run.folder} cannot be written: {error.strerror or error}{kept}"
        ) from error


@contextmanager
def _filtered_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        # Advice about worker counts; the loaders use every core already.
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        # torch.utils._pytree's own deprecation, raised inside Lightning 2.6.
        warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
        # The folder holds the recipe and the environment by then, and on resuming the checkpoints.
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        # The range test has no validation photos.
        warnings.filterwarnings("ignore", message=".*but have no `val_dataloader`")
        yield
