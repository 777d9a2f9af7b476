"""A run's folder: what was asked, what came out, and where each part lies.

``runs/<recipe>/<time>/`` holds ``recipe.json`` (resolved), ``environment.json``,
``data.json`` (classes, fingerprint, what was left out), ``metrics.csv`` and
``tensorboard/`` (what was logged), and ``checkpoints/`` (``best.ckpt``, ``last.ckpt``).
"""

import json
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trainer.beside import file_beside
from trainer.errors import RecipeError, RunError
from trainer.recipe import Recipe, parse_recipe

LIBRARIES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "pillow", "numpy")


class DataRecord(BaseModel):
    """What a run trained on.

    Attributes:
        root: The data folder, absolute.
        classes: Ids in the order of the labels.
        train_images: How many were trained on.
        validation_images: How many were held out.
        fingerprint: SHA-256 over the training images' digests.
        train_digests: SHA-256 of each training image, sorted.
        unreadable: Files left out, with the reason.
        duplicates_left_out: Training files that also stand among the held-out files.
        counts: Photos of each class, in the order of the labels, by part of the split.
        short_side_quantiles: Pixels: smallest, quartiles and largest of a sample of the photos.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: str
    classes: tuple[str, ...]
    train_images: int
    validation_images: int
    fingerprint: str
    train_digests: tuple[str, ...]
    unreadable: dict[str, str]
    duplicates_left_out: int
    counts: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    short_side_quantiles: tuple[int, ...] = ()


@dataclass(frozen=True)
class Run:
    """A run on disk."""

    folder: Path

    @property
    def checkpoints(self) -> Path:
        """Where Lightning keeps ``best.ckpt`` and ``last.ckpt``."""
        return self.folder / "checkpoints"

    @property
    def exclude(self) -> Path | None:
        """The list of photos that were left out on request, if there is one."""
        path = self.folder / "exclude.csv"
        return path if path.is_file() else None

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint of the last finished epoch, from which a run is resumed."""
        return self.checkpoints / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        """The checkpoint with the smallest validation loss.

        Raises:
            RunError: The run has none.
        """
        path = self.checkpoints / "best.ckpt"
        if not path.is_file():
            raise RunError(f"{self.folder} has no checkpoint: is it a finished run?")
        return path

    def recipe(self) -> Recipe:
        """The recipe as it was run.

        Raises:
            RunError: The folder is not a run.
        """
        path = self.folder / "recipe.json"
        try:
            return parse_recipe(json.loads(path.read_text(encoding="utf-8")), str(path))
        except OSError as error:
            raise RunError(f"{self.folder} is not a run{self._hint()}") from error
        except (ValueError, RecipeError) as error:
            raise RunError(f"{self.folder} is not a run: {error}") from error

    def _hint(self) -> str:
        """The newest run in the folder, if it is one of runs."""
        runs = sorted(path.parent for path in self.folder.glob("*/recipe.json"))
        return f"; the newest run in it is {runs[-1]}" if runs else ": it has no recipe.json"

    def data(self) -> DataRecord:
        """What it was trained on.

        Raises:
            RunError: The folder is not a run.
        """
        try:
            text = (self.folder / "data.json").read_text(encoding="utf-8")
            return DataRecord.model_validate_json(text)
        except (OSError, ValidationError) as error:
            raise RunError(f"{self.folder} is not a run: {error}") from error

    def write(self, name: str, text: str) -> None:
        """Write one of the run's text files: whole, or not at all.

        Raises:
            RunError: It cannot be written.
        """
        self.write_bytes(name, (text + "\n").encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write one of the run's files: whole, or not at all.

        Raises:
            RunError: It cannot be written.
        """
        path = self.folder / name
        try:
            path.parent.mkdir(exist_ok=True)
            with file_beside(path) as file:
                file.write(content)
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}") from error


def create_run(root: Path, recipe: Recipe) -> Run:
    """Make ``root/<recipe>/<UTC time>/`` with the resolved recipe and the environment."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    run = Run(root / recipe.name / stamp)
    run.checkpoints.mkdir(parents=True)
    run.write("recipe.json", recipe.model_dump_json(indent=2))
    run.write("environment.json", json.dumps(environment(), indent=2))
    return run


def environment() -> dict[str, str]:
    """Versions of Python and of the libraries that decide a result."""
    versions = {name: version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **versions}
