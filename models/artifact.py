"""An artifact that has been verified: what was hashed is what is loaded.

The files are read once. Their digests are checked on the bytes in memory, and
those same bytes are opened, so nobody can swap a file in between.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models import signature, torchscript
from models.errors import IntegrityError, ManifestError
from models.exported import open_twin
from models.files import read_regular
from models.golden import GoldenSamples, load_golden
from models.manifest import (
    CHANNELS,
    GOLDEN_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    NOVELTY_NAME,
    TWIN_NAME,
    Manifest,
    parse_manifest,
    read_manifest_bytes,
)
from models.novelty import NoveltyScore, load_centroids
from models.signature import MAX_SIGNATURE_BYTES, SIGNATURE_NAME


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
    _twin: bytes | None = None
    _novelty: bytes | None = None

    def module(self) -> torch.jit.ScriptModule:
        """The scripted module: fp32, unfrozen, in eval mode, on the CPU.

        ``forward``, and ``head(features(x))``, take uint8 [b, 3, h, w] and give logits
        float32 [b, classes].

        Raises:
            IntegrityError: The archive is not what it should be.
        """
        return torchscript.load(self._model)

    def exported_program(self) -> torch.export.ExportedProgram | None:
        """The module's torch.export twin, on the CPU; None where the artifact has none.

        Its ``module()`` takes and gives what ``forward`` does.

        Raises:
            IntegrityError: The file is no exported program.
        """
        return None if self._twin is None else open_twin(self._twin)

    @property
    def twin(self) -> bytes | None:
        """The verified file of :meth:`exported_program`; None where the artifact has none."""
        return self._twin

    def centroids(self) -> Tensor | None:
        """Each class's mean features, float32 [classes, c]; None where the artifact has none.

        Raises:
            IntegrityError: They cannot be read or do not fit the manifest.
        """
        if self._novelty is None:
            return None
        return load_centroids(self._novelty, classes=len(self.manifest.labels))

    def novelty_score(self, device: torch.device) -> NoveltyScore | None:
        """What tells images unlike the training images; None where the artifact says nothing of it.

        Raises:
            IntegrityError: The centroids cannot be read or do not fit the manifest.
        """
        if self.manifest.novelty is None:
            return None
        centroids = self.centroids()
        return NoveltyScore(
            self.manifest.novelty.method,
            self.manifest.calibration.temperature,
            centroids.to(device) if centroids is not None else None,
        )

    def golden(self) -> GoldenSamples:
        """The golden samples.

        Raises:
            IntegrityError: They cannot be read or do not fit the manifest.
        """
        samples = load_golden(self._golden)
        count, image = self.manifest.golden.samples, self.manifest.input
        found = tuple(samples.inputs.shape), tuple(samples.logits.shape)
        said = (
            (count, CHANNELS, image.height, image.width),
            (count, len(self.manifest.labels)),
        )
        if found != said:
            raise IntegrityError(
                f"{GOLDEN_NAME} holds inputs and logits of shapes {found}; the manifest says {said}"
            )
        return samples


def read_artifact(
    folder: Path, *, staged: bool = False, public_key: Path | None = None
) -> Artifact:
    """Verify every file of ``folder`` against its manifest and read what is needed to serve.

    Args:
        folder: ``<model>/<version>``.
        staged: The folder has not got its final name yet.
        public_key: PEM of whom to trust; given: the artifact must be signed by it.

    Raises:
        ManifestError: The manifest is missing or invalid.
        IntegrityError: A file is missing, unlisted, a link, too long or short, or altered, or
            the signature is missing or another's.
    """
    manifest_bytes = read_manifest_bytes(folder)
    manifest = parse_manifest(manifest_bytes)
    named = folder.name == str(manifest.version) and folder.parent.name == manifest.name
    if not named and not staged:
        raise ManifestError(
            f"manifest is of {manifest.name} version {manifest.version};"
            f" the folder is {folder.parent.name}/{folder.name}"
        )
    files = _verified(folder, manifest)
    if public_key is not None:
        signed = read_regular(folder / SIGNATURE_NAME, MAX_SIGNATURE_BYTES)
        signature.verify({MANIFEST_NAME: manifest_bytes, **files}, signed, public_key)
    digest = hashlib.sha256(manifest_bytes).hexdigest()
    return Artifact(
        manifest,
        digest,
        files[MODEL_NAME],
        files[GOLDEN_NAME],
        files.get(TWIN_NAME),
        files.get(NOVELTY_NAME),
    )


def _verified(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Every file that the manifest lists, read once."""
    unlisted = _names(folder) - {MANIFEST_NAME, SIGNATURE_NAME, *manifest.files}
    if unlisted:
        raise IntegrityError(f"unlisted files: {', '.join(sorted(unlisted))}")
    files: dict[str, bytes] = {}
    for name, entry in manifest.files.items():
        content = read_regular(folder / name, entry.size_bytes)
        if len(content) != entry.size_bytes:
            raise IntegrityError(
                f"{name} has {len(content)} bytes; the manifest says {entry.size_bytes}"
            )
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise IntegrityError(f"{name} differs from its SHA-256 digest")
        files[name] = content
    return files


def _names(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise IntegrityError(f"{folder.name} cannot be listed: {error.strerror}") from error
