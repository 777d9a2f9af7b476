"""An artifact that has been verified: what was hashed is what is loaded.

The files are read once. Their digests are checked on the bytes in memory, and
those same bytes are opened, so nobody can swap a file in between.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import torch

from models import torchscript
from models.errors import IntegrityError, ManifestError
from models.files import read_regular
from models.golden import GoldenSamples, load_golden
from models.inflation import check_inflation
from models.manifest import (
    CHANNELS,
    GOLDEN_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    TWIN_NAME,
    Manifest,
    parse_manifest,
    read_manifest_bytes,
)


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
        if self._twin is None:
            return None
        check_inflation(self._twin, TWIN_NAME)
        try:
            return torch.export.load(io.BytesIO(self._twin))
        except Exception as error:  # damage raises many kinds
            raise IntegrityError(f"{TWIN_NAME} is not an exported program") from error

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


def read_artifact(folder: Path, *, staged: bool = False) -> Artifact:
    """Verify every file of ``folder`` against its manifest and read what is needed to serve.

    Args:
        folder: ``<model>/<version>``.
        staged: The folder has not got its final name yet.

    Raises:
        ManifestError: The manifest is missing or invalid.
        IntegrityError: A file is missing, unlisted, a link, too long or short, or altered.
    """
    manifest_bytes = read_manifest_bytes(folder)
    manifest = parse_manifest(manifest_bytes)
    named = folder.name == str(manifest.version) and folder.parent.name == manifest.name
    if not named and not staged:
        raise ManifestError(
            f"manifest is of {manifest.name} version {manifest.version};"
            f" the folder is {folder.parent.name}/{folder.name}"
        )
    return _verified(folder, manifest, manifest_bytes)


def _verified(folder: Path, manifest: Manifest, manifest_bytes: bytes) -> Artifact:
    unlisted = _names(folder) - {MANIFEST_NAME, *manifest.files}
    if unlisted:
        raise IntegrityError(f"unlisted files: {', '.join(sorted(unlisted))}")
    kept: dict[str, bytes] = {}
    for name, entry in manifest.files.items():
        content = read_regular(folder / name, entry.size_bytes)
        if len(content) != entry.size_bytes:
            raise IntegrityError(
                f"{name} has {len(content)} bytes; the manifest says {entry.size_bytes}"
            )
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise IntegrityError(f"{name} differs from its SHA-256 digest")
        if name in (MODEL_NAME, GOLDEN_NAME, TWIN_NAME):
            kept[name] = content
    digest = hashlib.sha256(manifest_bytes).hexdigest()
    return Artifact(manifest, digest, kept[MODEL_NAME], kept[GOLDEN_NAME], kept.get(TWIN_NAME))


def _names(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise IntegrityError(f"{folder.name} cannot be listed: {error.strerror}") from error
