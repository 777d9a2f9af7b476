"""Read a file that somebody else may have put there. Imports only the errors."""

import os
import stat
from pathlib import Path

from models.errors import IntegrityError


def read_regular(path: Path, limit_bytes: int) -> bytes:
    """Read a regular file of at most ``limit_bytes``.

    Never through a link, never waiting for the other end of a pipe, and never
    allocating for more than is allowed.

    Raises:
        IntegrityError: It is missing, a link, no regular file, unreadable, or longer.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise IntegrityError(f"{path.name} is not a regular file")
            if status.st_size > limit_bytes:
                raise IntegrityError(
                    f"{path.name} has {status.st_size} bytes; {limit_bytes} are expected at most"
                )
            return file.read(status.st_size)
    except OSError as error:
        raise IntegrityError(f"{path.name} cannot be read: {error.strerror}") from error
