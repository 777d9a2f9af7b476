"""Refuse ZIP archives that inflate beyond reason. Imports only the errors."""

import io
import zipfile

from models.errors import IntegrityError

_MAX_RATIO = 4
_SLACK_BYTES = 16 * 2**20


def check_inflation(archive: bytes, name: str) -> None:
    """Check what the archive says of the size of its contents.

    Raises:
        IntegrityError: It is no ZIP archive, or a bomb.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as content:
            inflated = sum(entry.file_size for entry in content.infolist())
    except Exception as error:  # zipfile raises many kinds on damage
        raise IntegrityError(f"{name} is not a ZIP archive") from error
    if inflated > _MAX_RATIO * len(archive) + _SLACK_BYTES:
        raise IntegrityError(f"{name} inflates from {len(archive)} to {inflated} bytes")
