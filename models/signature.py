"""Signatures of artifacts, in the OpenSSF Model Signing format, with a key pair.

``model.sig`` beside the other files covers all of them; the ``model_signing`` command line
reads and writes it as well (``model_signing verify key``). Needs the extra "signing", and only
where a key is configured.

Source: https://github.com/sigstore/model-transparency
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from models.errors import IntegrityError

SIGNATURE_NAME = "model.sig"
MAX_SIGNATURE_BYTES = 2**20


def sign(folder: Path, private_key: Path) -> None:
    """Write ``folder``'s signature, in one step.

    Args:
        folder: A whole artifact.
        private_key: PEM of an elliptic curve key (P-256, P-384 or P-521), unencrypted.

    Raises:
        IntegrityError: The key cannot be used, or the extra is not installed.
        OSError: The folder cannot be written.
    """
    signing = _library("signing")
    written = folder / SIGNATURE_NAME
    written.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as room:
        beside = Path(room) / SIGNATURE_NAME
        try:
            config = signing.Config().use_elliptic_key_signer(private_key=private_key)
            config.sign(folder, beside)
        except Exception as error:  # the libraries below raise many kinds
            raise IntegrityError(f"{private_key} cannot sign") from error
        written.write_bytes(beside.read_bytes())


def verify(files: Mapping[str, bytes], signature: bytes, public_key: Path) -> None:
    """Check that ``signature`` is ``public_key``'s, and of exactly these files.

    The library reads files by their paths. It is given a private copy of the bytes in memory,
    so that what it verifies is what will be opened.

    Raises:
        IntegrityError: It is not, the key cannot be read, or the extra is not installed.
    """
    verifying = _library("verifying")
    with tempfile.TemporaryDirectory() as room:
        copy, written = Path(room) / "artifact", Path(room) / SIGNATURE_NAME
        copy.mkdir()
        for name, content in files.items():
            (copy / name).write_bytes(content)
        written.write_bytes(signature)
        try:
            config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
            config.verify(copy, written)
        except Exception as error:  # as above; its text may quote the signature
            raise IntegrityError(
                f"{SIGNATURE_NAME} is not a signature by the trusted key"
            ) from error


def _library(name: str) -> ModuleType:
    try:
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        raise IntegrityError('signatures need the extra "signing"') from error
    module: ModuleType = getattr(model_signing, name)
    return module
