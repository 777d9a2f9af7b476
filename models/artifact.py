"""An artifact that has been verified: what was hashed is what is loaded.

The files are read once. Their digests are checked on the bytes in memory, and
those same bytes are opened, so nobody can swap a file in between.
"""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import torch

from models import torchscript
from models.errors import IntegrityError, ManifestError
from models.golden import GoldenSamples, load_golden
from models.manifest import GOLDEN_NAME, MANIFEST_NAME, MODEL_NAME, Manifest, parse_manifest

_MAX_MANIFEST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Artifact:
    """A verified artifact in memory.

    Attributes:
        manifest: Its facts.
        digest: SHA-256 of the manifest file, which holds every other digest.
    """

    manifest: Manifest
    digest: str
    _model: bytes
    _golden: bytes

    def module(self) -> torch.jit.ScriptModule:
        """The scripted module: fp32, unfrozen, in eval mode, on the CPU.

        ``forward``, and ``head(features(x))``, take uint8 [b, 3, h, w] and give logits
        float32 [b, classes].

        Raises:
            IntegrityError: The archive is not what it should be.
        """
        return torchscript.load(self._model)

    def golden(self) -> GoldenSamples:
        """The golden samples.

        Raises:
            IntegrityError: They cannot be read or do not fit the manifest.
        """
        samples = load_golden(self._golden)
        shape = (self.manifest.golden.samples, len(self.manifest.labels))
        if tuple(samples.logits.shape) != shape:
            raise IntegrityError(
                f"golden.npz holds logits of shape {tuple(samples.logits.shape)};"
                f" the manifest says {shape}"
            )
        return samples


def read_artifact(folder: Path, *, staged: bool = False) -> Artifact:
    """Verify every file of ``folder`` against its manifest and read what is needed to serve.

    Args:
        folder: ``<model>/<version>``.
        staged: The folder has not got its final name yet.

    Raises:
        ManifestError: The manifest is missing or invalid.
        IntegrityError: A file is missing, unlisted, a link, too long or short, or altered.
    """
    manifest_bytes = _read(folder / MANIFEST_NAME, _MAX_MANIFEST_BYTES)
    manifest = parse_manifest(manifest_bytes)
    named = folder.name == str(manifest.version) and folder.parent.name == manifest.name
    if not named and not staged:
        raise ManifestError(
            f"manifest is of {manifest.name} version {manifest.version};"
            f" the folder is {folder.parent.name}/{folder.name}"
        )
    return _verified(folder, manifest, manifest_bytes)


def _verified(folder: Path, manifest: Manifest, manifest_bytes: bytes) -> Artifact:
    unlisted = {entry.name for entry in folder.iterdir()} - {MANIFEST_NAME, *manifest.files}
    if unlisted:
        raise IntegrityError(f"unlisted files: {', '.join(sorted(unlisted))}")
    kept: dict[str, bytes] = {}
    for name, entry in manifest.files.items():
        content = _read(folder / name, entry.size_bytes)
        if len(content) != entry.size_bytes:
            raise IntegrityError(
                f"{name} has {len(content)} bytes; the manifest says {entry.size_bytes}"
            )
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise IntegrityError(f"{name} differs from its SHA-256 digest")
        if name in (MODEL_NAME, GOLDEN_NAME):
            kept[name] = content
    digest = hashlib.sha256(manifest_bytes).hexdigest()
    return Artifact(manifest, digest, kept[MODEL_NAME], kept[GOLDEN_NAME])


def _read(path: Path, expected_bytes: int) -> bytes:
    """Read a regular file, never through a link, and at most one byte more than expected."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise IntegrityError(f"{path.name} is not a regular file")
            return file.read(expected_bytes + 1)
    except OSError as error:
        raise IntegrityError(f"{path.name} cannot be read: {error.strerror}") from error
