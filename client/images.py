"""An image's bytes, from memory, a file or a function. Checks the size before anything is sent."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from client.errors import ImageFileError
from client.pixels import PillowImage, PixelArray, Pixels, pixels_of_array, pixels_of_pillow

# Encoded bytes, the file that holds them, or a function that fetches them when it is their
# turn (it raises ImageFileError if it cannot, and may be called again for a retry); or decoded
# pixels: a Pillow image, or an array of uint8 [height, width, 3], RGB.
ImageSource = (
    bytes | str | os.PathLike[str] | Callable[[], bytes] | Pixels | PixelArray | PillowImage
)

# What one gRPC message may hold, both ways: four times gRPC's own default, since photographs
# of 20 MB exist; small enough that a window of them fits into memory.
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
# Leaves room for the fields around the image.
MAX_IMAGE_BYTES = MAX_MESSAGE_BYTES - 64 * 1024


def image_content(source: ImageSource) -> bytes | Pixels:
    """Return the encoded image, or its pixels.

    Raises:
        ImageFileError: It cannot be read, is an empty file, is an array of another kind, or
            exceeds MAX_IMAGE_BYTES.
    """
    if isinstance(source, bytes | str | os.PathLike):
        return image_bytes(source)
    pixels = _pixels(source)
    if pixels is None:
        return image_bytes(source)
    if len(pixels.data) > MAX_IMAGE_BYTES:
        raise _too_large(f"{len(pixels.data):,} bytes of pixels", "")
    return pixels


def image_bytes(source: ImageSource) -> bytes:
    """Return the encoded image.

    Raises:
        ImageFileError: It cannot be read, is an empty file, or exceeds MAX_IMAGE_BYTES.
    """
    if isinstance(source, bytes):
        return _fitting(source, "")
    if isinstance(source, str | os.PathLike):
        return _file_bytes(Path(source))
    if callable(source):
        return _fitting(source(), "")
    raise ImageFileError(f"{type(source).__name__} is no encoded image", reason="NOT_AN_IMAGE")


def _pixels(source: object) -> Pixels | None:
    if isinstance(source, Pixels):
        return source
    if isinstance(source, PillowImage):
        return pixels_of_pillow(source)
    return pixels_of_array(source) if isinstance(source, PixelArray) else None


def stream_bytes(stream: BinaryIO, name: str) -> bytes:
    """Return all of a stream, reading no more than an image may have.

    Raises:
        ImageFileError: The stream cannot be read, is empty, or exceeds MAX_IMAGE_BYTES.
    """
    try:
        image = stream.read(MAX_IMAGE_BYTES + 1)
    except OSError as error:
        raise unreadable(name, error) from error
    if not image:
        raise ImageFileError("the file is empty", reason="FILE_EMPTY", path=name)
    return _fitting(image, name)


def unreadable(path: str, error: OSError | ValueError) -> ImageFileError:
    """Return the error to raise for a file or directory that the system refuses."""
    if isinstance(error, FileNotFoundError):
        return ImageFileError("no such file", code="NOT_FOUND", reason="FILE_MISSING", path=path)
    problem = error.strerror if isinstance(error, OSError) else None
    denied = isinstance(error, PermissionError)
    return ImageFileError(
        f"cannot be read: {(problem or str(error)).lower()}",
        code="PERMISSION_DENIED" if denied else "INVALID_ARGUMENT",
        reason="FILE_UNREADABLE",
        path=path,
    )


def _file_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes > MAX_IMAGE_BYTES:
                raise _too_large(f"{size_bytes:,} bytes", str(path))
            return stream_bytes(file, str(path))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise unreadable(str(path), error) from error


def _fitting(image: bytes, name: str) -> bytes:
    if len(image) > MAX_IMAGE_BYTES:
        raise _too_large(f"more than {MAX_IMAGE_BYTES:,} bytes", name)
    return image


def _too_large(size: str, name: str) -> ImageFileError:
    return ImageFileError(
        f"the image is too large to send: {size}, and the limit is {MAX_IMAGE_BYTES:,} bytes",
        code="RESOURCE_EXHAUSTED",
        reason="FILE_TOO_LARGE",
        path=name,
    )
