"""From photos that a server captured to reviewed training data.

A person decides on each photo in a page: accept the label that is suggested, give another, or
discard it. The page's decisions, a JSON file, then sort the photos into class folders.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from trainer.errors import DataError
from trainer.pages import template

REVIEW_NAME = "review.html"
_FILE = r"^[0-9a-f]{64}\.(jpg|png|webp)$"
_FOLDER = r"^[^/\\\x00-\x1f.][^/\\\x00-\x1f]{0,127}$"


class CapturedPhoto(BaseModel):
    """What the JSON file beside a captured photo says; see the server's capture."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    file: str = Field(pattern=_FILE)
    request_id: str
    model: str
    version: str
    digest: str
    predicted: str
    score: float
    reasons: tuple[str, ...]
    true_label: str = ""
    comment: str = ""

    @property
    def suggestion(self) -> str:
        """The label that a person gave, else the model's."""
        return self.true_label or self.predicted


Decisions = dict[
    Annotated[str, Field(pattern=_FILE)], Annotated[str, Field(pattern=_FOLDER)] | None
]
_DECISIONS: TypeAdapter[Decisions] = TypeAdapter(Decisions)


@dataclass(frozen=True)
class Ingested:
    """What became of the decisions: photos by class, and how many were discarded."""

    added: Mapping[str, int]
    discarded: int


def captured_photos(capture: Path) -> list[CapturedPhoto]:
    """Every photo of a capture folder with its facts, those that people corrected first.

    Raises:
        DataError: The folder cannot be read, or a file in it is not what it should be.
    """
    if not capture.is_dir():
        raise DataError(f"{capture} is not a folder")
    photos = []
    for path in sorted(capture.glob("[0-9a-f]" * 64 + ".json")):
        try:
            photo = CapturedPhoto.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise DataError(f"{path} is not what a server captured: {error}") from error
        if (capture / photo.file).is_file():
            photos.append(photo)
    return sorted(photos, key=lambda photo: ("corrected" not in photo.reasons, photo.score))


def write_review(capture: Path) -> Path:
    """Write the page on which a person decides, into the capture folder; returns its path.

    Raises:
        DataError: The folder cannot be read.
    """
    photos = captured_photos(capture)
    labels = sorted({photo.predicted for photo in photos} | {p.suggestion for p in photos})
    page = capture / REVIEW_NAME
    text = template("trainer", "review.html.j2").render(photos=photos, labels=labels)
    page.write_text(text, encoding="utf-8")
    return page


def read_decisions(path: Path) -> Decisions:
    """What the page wrote: a label for each photo, or null to discard it.

    Raises:
        DataError: It is not such a file.
    """
    try:
        return _DECISIONS.validate_python(json.loads(path.read_bytes()), strict=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a file of decisions: {error}") from error


def ingest(
    capture: Path, data: Path, decisions: Decisions, folders: Mapping[str, str] | None = None
) -> Ingested:
    """Sort reviewed photos into class folders and take them out of the capture folder.

    Args:
        capture: Where the server put them.
        data: Where class folders lie.
        decisions: A label for each photo, or None to discard it; others wait for a decision.
        folders: Label to class folder where they differ.

    Raises:
        DataError: A photo is missing, or cannot be moved.
    """
    added: dict[str, int] = {}
    discarded = 0
    for name, label in decisions.items():
        source = capture / name
        if not source.is_file():
            raise DataError(f"{name} is not in {capture}")
        if label is None:
            source.unlink()
            discarded += 1
        else:
            folder = data / (folders or {}).get(label, label)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.move(source, folder / f"captured-{name}")
            added[label] = added.get(label, 0) + 1
        source.with_suffix(".json").unlink(missing_ok=True)
    return Ingested(added, discarded)
