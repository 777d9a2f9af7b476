"""What a store holds, as far as it can be an artifact's, and the index of one that cannot list.

A web server has no listing. ``index.json`` at the repository's root stands in for it::

    {"schema_version": 1,
     "files": {"pets/3/model.pt": {"size_bytes": 9437184, "tag": "1762000000000000000"}, ...}}

``tag`` is any text that changes with the file.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import RepositoryError, StoreError
from models.manifest import FILE_PATTERN, NAME_PATTERN, VERSION_PATTERN
from models.repository import LABELS_NAME, ModelRepository

INDEX_NAME = "index.json"
MAX_FILES = 100_000


class Remote(BaseModel):
    """One file in a store: its size, and a text that changes when it does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_bytes: int = Field(ge=0)
    tag: str = Field(max_length=1024)


class Index(BaseModel):
    """The file ``index.json``: by path from the root, each file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(default=1, ge=1, le=1)
    files: dict[str, Remote] = Field(max_length=MAX_FILES)


@dataclass
class Listing:
    """What a store holds.

    Attributes:
        versions: By model and version, the files by name.
        labels: By model, its ``labels.json`` where there is one.
    """

    versions: dict[str, dict[int, dict[str, Remote]]] = field(default_factory=dict)
    labels: dict[str, Remote] = field(default_factory=dict)


def listing_of(files: Iterable[tuple[str, Remote]]) -> Listing:
    """Sort files in by their paths; those that can be no artifact's are passed over.

    Raises:
        StoreError: There are more than 100,000.
    """
    listing = Listing()
    for count, (path, remote) in enumerate(files):
        if count >= MAX_FILES:
            raise StoreError(f"more than {MAX_FILES} files are listed")
        match path.split("/"):
            case [model, version, name] if _is_artifacts(model, version, name):
                listing.versions.setdefault(model, {}).setdefault(int(version), {})[name] = remote
            case [model, name] if name == LABELS_NAME and re.fullmatch(NAME_PATTERN, model):
                listing.labels[model] = remote
    return listing


def read_index(data: bytes) -> Iterator[tuple[str, Remote]]:
    """The files that an ``index.json`` lists.

    Raises:
        StoreError: It is none.
    """
    try:
        index = Index.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise StoreError(f"{INDEX_NAME} is invalid: {problem}") from error
    yield from index.files.items()


def write_index(root: Path) -> int:
    """Write ``root/index.json`` in one step, for a web server that serves ``root``.

    Returns:
        How many files it lists.

    Raises:
        RepositoryError: ``root`` is no repository, or cannot be written.
    """
    repository = ModelRepository(root)
    found = (
        path
        for model in repository.models()
        for version in repository.versions(model)
        for path in sorted((repository.root / model / str(version)).iterdir())
    )
    labels = (repository.root / model / LABELS_NAME for model in repository.models())
    try:
        paths = [*found, *(path for path in labels if path.is_file())]
        files = {path.relative_to(repository.root).as_posix(): _remote(path) for path in paths}
        beside = repository.root / f".{INDEX_NAME}.{os.getpid()}"
        beside.write_text(Index(files=files).model_dump_json(indent=1) + "\n", encoding="utf-8")
        beside.replace(repository.root / INDEX_NAME)
    except OSError as error:
        raise RepositoryError(f"{root} cannot be indexed: {error}") from error
    return len(files)


def _remote(path: Path) -> Remote:
    status = path.lstat()
    return Remote(size_bytes=status.st_size, tag=str(status.st_mtime_ns))


def _is_artifacts(model: str, version: str, name: str) -> bool:
    return bool(
        re.fullmatch(NAME_PATTERN, model)
        and re.fullmatch(VERSION_PATTERN, version)
        and not version.startswith("0")
        and re.fullmatch(FILE_PATTERN, name)
    )
