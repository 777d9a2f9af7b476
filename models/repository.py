"""The model repository on disk: ``<root>/<model>/<version>/``.

Versions are decimal integers that only grow. Publishing writes beside, syncs,
and renames, so a reader sees a whole version or none. A version is immutable;
which one a label such as "stable" points to is in ``<model>/labels.json``.
"""

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from models.artifact import Artifact, read_artifact
from models.errors import RepositoryError
from models.manifest import MANIFEST_NAME, NAME_PATTERN, VERSION_PATTERN, Manifest

LABELS_NAME = "labels.json"
_LOCK_NAME = ".lock"
_STAGING_PREFIX = ".staging-"
_LABEL = re.compile(r"^[a-z][a-z0-9_-]{0,62}$")

Seal = Callable[[int], Manifest]
Check = Callable[[Path], None]


class ModelRepository:
    """Reads and publishes versioned artifacts below ``root``.

    Args:
        root: An existing folder. Everything read or written lies under it.

    Raises:
        RepositoryError: ``root`` is not a folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise RepositoryError(f"model repository {root} is not a folder")
        self.root = root.resolve()

    def models(self) -> list[str]:
        """Names of the models that have at least one version, sorted."""
        folders = (entry for entry in self.root.iterdir() if re.match(NAME_PATTERN, entry.name))
        return sorted(entry.name for entry in folders if _versions(entry))

    def versions(self, model: str) -> list[int]:
        """Versions of ``model``, oldest first; empty when there are none.

        Raises:
            RepositoryError: ``model`` is not a valid name.
        """
        return _versions(self._model_folder(model))

    def labels(self, model: str) -> dict[str, int]:
        """Version labels of ``model`` from its ``labels.json``; empty when there is none.

        Raises:
            RepositoryError: The file is malformed, or a label points to no version.
        """
        path = self._model_folder(model) / LABELS_NAME
        if not path.exists():
            return {}
        try:
            labels = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RepositoryError(f"{path} cannot be read as JSON") from error
        if not isinstance(labels, dict):
            raise RepositoryError(f"{path} must be an object from label to version number")
        versions = self.versions(model)
        for label, version in labels.items():
            if not _LABEL.match(label) or type(version) is not int or version not in versions:
                raise RepositoryError(f"{path}: {label!r} must point to a version of {versions}")
        return labels

    def read(self, model: str, version: int) -> Artifact:
        """Verify and read one version.

        Raises:
            RepositoryError: There is no such version.
            ArtifactError: It fails its verification.
        """
        if version not in self.versions(model):
            raise RepositoryError(f"model {model} has no version {version}")
        return read_artifact(self._model_folder(model) / str(version))

    def publish(self, model: str, build: Callable[[Path], Seal], check: Check) -> int:
        """Publish a new version of ``model`` atomically.

        Args:
            model: Its name; the folder is made when it does not exist.
            build: Writes every file but the manifest into the folder it is given and
                returns what makes the manifest once the version is known.
            check: Raises when the staged artifact, complete, does not satisfy.

        Returns:
            The new version: one more than the highest, or 1.

        Raises:
            RepositoryError: The repository cannot be written.
            ArtifactError: ``check`` refused.
        """
        folder = self._model_folder(model)
        folder.mkdir(exist_ok=True)
        with _staging(folder) as staging:
            seal = build(staging)
            with _locked(folder):
                version = max(_versions(folder), default=0) + 1
                manifest = seal(version)
                (staging / MANIFEST_NAME).write_text(
                    manifest.model_dump_json(indent=2) + "\n", encoding="utf-8"
                )
                check(staging)
                _sync_folder(staging)
                staging.rename(folder / str(version))
                _sync(folder)
        return version

    def prune(self, model: str, keep: int, pinned: Sequence[int] = ()) -> list[int]:
        """Remove all but the newest ``keep`` versions and the ``pinned`` and labelled ones.

        Returns:
            The versions removed.
        """
        folder = self._model_folder(model)
        with _locked(folder):
            versions = _versions(folder)
            kept = {*versions[len(versions) - keep :], *pinned, *self.labels(model).values()}
            removed = [version for version in versions if version not in kept]
            for version in removed:
                # Renamed first: a reader never sees half of a version.
                grave = folder / f"{_STAGING_PREFIX}removed-{version}"
                (folder / str(version)).rename(grave)
                shutil.rmtree(grave)
        return removed

    def _model_folder(self, model: str) -> Path:
        if not re.match(NAME_PATTERN, model):
            raise RepositoryError(f"model name must match {NAME_PATTERN}")
        return self.root / model


def _versions(folder: Path) -> list[int]:
    """Versions in a model's folder. Links are not followed: they could lead outside the root."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(
        int(entry.name)
        for entry in folder.iterdir()
        if re.match(VERSION_PATTERN, entry.name)
        and not entry.name.startswith("0")
        and not entry.is_symlink()
        and entry.is_dir()
    )


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A folder beside the versions that is gone afterwards unless it was renamed."""
    staging = Path(tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=folder))
    staging.chmod(0o755)  # mkdtemp's 0700 would shut out the server's user
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the model's lock: one publisher at a time, released even by kill -9."""
    with (folder / _LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sync_folder(folder: Path) -> None:
    for path in folder.iterdir():
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
