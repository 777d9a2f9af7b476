"""The model repository on disk: ``<root>/<model>/<version>/``.

Versions are decimal integers that only grow. Publishing writes beside, syncs,
and renames, so a reader sees a whole version or none. A version is immutable;
which one a label such as "stable" points to is in ``<model>/labels.json``.

``<model>/.lock`` is held while versions come and go. What is being written lies in
``<model>/.staging-*/``, whose own ``.lock`` is held as long as its publisher lives;
what a killed one left is swept away by the next.
"""

import fcntl
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from models.artifact import Artifact, read_artifact
from models.errors import IntegrityError, ManifestError, RepositoryError
from models.files import read_regular
from models.manifest import MANIFEST_NAME, NAME_PATTERN, VERSION_PATTERN, Manifest

LABELS_NAME = "labels.json"
_LOCK_NAME = ".lock"
_STAGING_PREFIX = ".staging-"
_STAGED_NAME = "artifact"
MAX_LABELS_BYTES = 2**20
LABEL_PATTERN = r"[a-z][a-z0-9_-]{0,62}"

_MAX_FINGERPRINTED = 64

Seal = Callable[[int], Manifest]
# Of each file: name, bytes, time of change in nanoseconds, inode.
Fingerprint = tuple[tuple[str, int, int, int], ...]
Check = Callable[[Path], None]


class ModelRepository:
    """Reads and publishes versioned artifacts below ``root``.

    Args:
        root: An existing folder. Everything read or written lies under it.
        public_key: PEM of whom to trust; given: only what is signed by it is read.

    Raises:
        RepositoryError: ``root`` is not a folder.
    """

    def __init__(self, root: Path, public_key: Path | None = None) -> None:
        if not root.is_dir():
            raise RepositoryError(f"model repository {root} is not a folder")
        self.root = root.resolve()
        self._public_key = public_key

    def models(self) -> list[str]:
        """Names of the models that have at least one version, sorted.

        Raises:
            RepositoryError: The root cannot be listed.
        """
        models = (name for name in _names(self.root) if re.fullmatch(NAME_PATTERN, name))
        return sorted(name for name in models if _versions(self.root / name))

    def versions(self, model: str) -> list[int]:
        """Versions of ``model``, oldest first; empty when there are none.

        Raises:
            RepositoryError: ``model`` is not a valid name, or its folder cannot be listed.
        """
        return _versions(self._model_folder(model))

    def labels(self, model: str) -> dict[str, int]:
        """Version labels of ``model`` from its ``labels.json``; empty when there is none.

        Raises:
            RepositoryError: The file is malformed, or a label points to no version.
        """
        folder = self._model_folder(model)
        path = folder / LABELS_NAME
        if not _is_folder(folder) or not os.path.lexists(path):
            return {}
        try:
            data = read_regular(path, MAX_LABELS_BYTES)
        except IntegrityError as error:
            raise RepositoryError(f"{path} cannot be read as JSON") from error
        return parse_labels(data, _versions(folder), str(path))

    def read(self, model: str, version: int) -> Artifact:
        """Verify and read one version.

        Raises:
            RepositoryError: There is no such version.
            ArtifactError: It fails its verification.
        """
        if version not in self.versions(model):
            raise RepositoryError(f"model {model} has no version {version}")
        return read_artifact(self._model_folder(model) / str(version), public_key=self._public_key)

    def fingerprint(self, model: str, version: int) -> Fingerprint:
        """What tells one state of a version's files from another without reading them.

        Of at most 64 files, which is more than an artifact has. Empty where there is no folder.

        Raises:
            RepositoryError: ``model`` is not a valid name.
        """
        folder = self._model_folder(model) / str(version)
        facts = []
        try:
            paths = sorted(itertools.islice(folder.iterdir(), _MAX_FINGERPRINTED))
            for path in paths:
                status = path.lstat()
                facts.append((path.name, status.st_size, status.st_ctime_ns, status.st_ino))
        except OSError:  # it is going, or nobody may look into it: that is a state, too
            facts.append(("", 0, 0, 0))
        return tuple(facts)

    def misplaced(self, model: str) -> dict[int, str]:
        """What has a version's name and is none, with the reason.

        Raises:
            RepositoryError: ``model`` is not a valid name, or its folder cannot be listed.
        """
        folder = self._model_folder(model)
        if not _is_folder(folder):
            return {}
        numbers = (name for name in _names(folder) if re.fullmatch(VERSION_PATTERN, name))
        paths = (folder / name for name in numbers if not name.startswith("0"))
        return {
            int(path.name): f"{path.name} is {'a link' if path.is_symlink() else 'no folder'}"
            for path in paths
            if not _is_folder(path)
        }

    def publish(
        self,
        model: str,
        build: Callable[[Path], Seal],
        check: Check,
        sign: Callable[[Path], None] | None = None,
    ) -> int:
        """Publish a new version of ``model`` atomically.

        Args:
            model: Its name; the folder is made when it does not exist.
            build: Writes every file but the manifest into the folder it is given and
                returns what makes the manifest once the version is known.
            check: Raises when the staged artifact, complete, does not satisfy.
            sign: Adds a signature to the staged artifact before it is checked.

        Returns:
            The new version: one more than the highest, or 1.

        Raises:
            RepositoryError: The repository cannot be written, or the manifest is of
                another model or version.
            ArtifactError: ``check`` refused.
        """
        folder = self._made_folder(model)
        with _staging(folder) as staging:
            seal = build(staging)
            with _locked(folder):
                version = _next_version(folder)
                manifest = seal(version)
                if (manifest.name, manifest.version) != (model, version):
                    raise RepositoryError(
                        f"the manifest is of {manifest.name} version {manifest.version},"
                        f" not of {model} version {version}"
                    )
                with _writing(folder):
                    (staging / MANIFEST_NAME).write_text(
                        manifest.model_dump_json(indent=2) + "\n", encoding="utf-8"
                    )
                if sign is not None:
                    sign(staging)
                check(staging)
                with _writing(folder):
                    _commit(staging, folder / str(version))
        return version

    def prune(self, model: str, keep: int, pinned: Sequence[int] = ()) -> list[int]:
        """Remove all but the newest ``keep`` versions and the ``pinned`` and labelled ones.

        Args:
            model: Its name.
            keep: At least 1: version numbers grow from the newest.
            pinned: Versions to keep whatever their age.

        Returns:
            The versions removed.

        Raises:
            RepositoryError: There is no such model, its labels are malformed, ``keep``
                is too small, or the repository cannot be written.
        """
        folder = self._model_folder(model)
        if keep < 1:
            raise RepositoryError(f"at least one version must be kept, not {keep}")
        if not _is_folder(folder):
            raise RepositoryError(f"there is no model {model}")
        with _locked(folder):
            _sweep(folder)
            versions = _versions(folder)
            kept = {*versions[-keep:], *pinned, *self.labels(model).values()}
            removed = [version for version in versions if version not in kept]
            with _writing(folder):
                for version in removed:
                    _remove(folder / str(version))
        return removed

    def receive(self, model: str, version: int, fetch: Callable[[Path], None]) -> None:
        """Take in a version that was published elsewhere, under its own number, atomically.

        Args:
            model: Its name; the folder is made when it does not exist.
            version: Its number. Where it is here already, that one stays.
            fetch: Writes every file, the manifest too, into the folder it is given.

        Raises:
            RepositoryError: The repository cannot be written.
            ArtifactError: What was fetched fails its verification, or is another version.
        """
        folder = self._made_folder(model)
        with _staging(folder) as staging:
            with _writing(folder):
                fetch(staging)
            manifest = read_artifact(staging, staged=True, public_key=self._public_key).manifest
            if (manifest.name, manifest.version) != (model, version):
                raise ManifestError(
                    f"manifest is of {manifest.name} version {manifest.version}, not of"
                    f" {model} version {version}"
                )
            with _locked(folder), _writing(folder):
                if version not in _versions(folder):
                    _commit(staging, folder / str(version))

    def discard(self, model: str, version: int) -> None:
        """Remove one version if it is there, whoever points to it.

        Raises:
            RepositoryError: The repository cannot be written.
        """
        folder = self._model_folder(model)
        with _locked(folder), _writing(folder):
            if version in _versions(folder):
                _remove(folder / str(version))

    def write_labels(self, model: str, labels: Mapping[str, int]) -> None:
        """Write ``labels.json`` in one step.

        Raises:
            RepositoryError: There is no such model, or its folder cannot be written.
        """
        folder = self._model_folder(model)
        with _locked(folder), _writing(folder):
            beside = folder / f".{LABELS_NAME}"
            beside.write_text(json.dumps(labels, indent=2) + "\n", encoding="utf-8")
            beside.replace(folder / LABELS_NAME)

    def _model_folder(self, model: str) -> Path:
        if not re.fullmatch(NAME_PATTERN, model):
            raise RepositoryError(f"model name must match {NAME_PATTERN}")
        return self.root / model

    def _made_folder(self, model: str) -> Path:
        folder = self._model_folder(model)
        with _writing(folder):
            folder.mkdir(exist_ok=True)
            _sync(self.root)
        if folder.is_symlink():
            raise RepositoryError(f"{folder} is a link")
        return folder


def parse_labels(data: bytes, versions: Sequence[int], name: str) -> dict[str, int]:
    """Read a ``labels.json``.

    Args:
        data: The file.
        versions: What a label may point to.
        name: Of the file, for messages.

    Raises:
        RepositoryError: It is malformed, or a label points to none of ``versions``.
    """
    try:
        labels = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RepositoryError(f"{name} cannot be read as JSON") from error
    if not isinstance(labels, dict):
        raise RepositoryError(f"{name} must be an object from label to version number")
    for label, version in labels.items():
        known = type(version) is int and version in versions
        if not re.fullmatch(LABEL_PATTERN, label) or not known:
            raise RepositoryError(f"{name}: {label!r} must point to a version of {versions}")
    return labels


def _is_folder(path: Path) -> bool:
    """Whether it is a folder itself. Links are not followed: they could lead outside the root."""
    return path.is_dir() and not path.is_symlink()


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError as error:
        raise RepositoryError(f"{folder} cannot be listed: {error.strerror}") from error


def _versions(folder: Path) -> list[int]:
    """Versions in a model's folder, oldest first."""
    if not _is_folder(folder):
        return []
    return sorted(
        int(name)
        for name in _names(folder)
        if re.fullmatch(VERSION_PATTERN, name)
        and not name.startswith("0")
        and _is_folder(folder / name)
    )


def _next_version(folder: Path) -> int:
    """One more than the highest number that is taken, be it by a stray file."""
    taken = (int(name) for name in _names(folder) if re.fullmatch(VERSION_PATTERN, name))
    return max(taken, default=0) + 1


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """An empty folder beside the versions, gone afterwards unless it was renamed away."""
    with ExitStack() as stack:
        with _locked(folder):  # so that nobody sweeps between the making and the locking
            _sweep(folder)
            with _writing(folder):
                room = Path(tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=folder))
                stack.callback(shutil.rmtree, room, ignore_errors=True)
                staging = room / _STAGED_NAME
                staging.mkdir()
                staging.chmod(0o755)  # whatever the umask: the server may be another user
            stack.enter_context(_locked(room))
        yield staging


def _sweep(folder: Path) -> None:
    """Remove what killed publishers left. Call it under the model's lock."""
    for room in folder.glob(f"{_STAGING_PREFIX}*"):
        if not _is_held(room / _LOCK_NAME):
            shutil.rmtree(room, ignore_errors=True)


def _is_held(lock_path: Path) -> bool:
    """Whether a living process holds the lock; when it cannot be told, it is."""
    try:
        with lock_path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: one process at a time, released even by kill -9."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    with _writing(folder):
        lock = os.fdopen(os.open(folder / _LOCK_NAME, flags, mode=0o666), "r+")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RepositoryError(f"{folder} cannot be written: {error}") from error


def _commit(staging: Path, version_folder: Path) -> None:
    for path in staging.iterdir():
        _sync(path)
    _sync(staging)
    staging.rename(version_folder)
    _sync(version_folder.parent)


def _remove(version_folder: Path) -> None:
    # Renamed first: a reader never sees half of a version.
    grave = version_folder.with_name(f"{_STAGING_PREFIX}removed-{version_folder.name}")
    version_folder.rename(grave)
    shutil.rmtree(grave)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
