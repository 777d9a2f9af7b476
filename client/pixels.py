"""Decoded pixels: Pillow images and arrays become messages without either library."""

import sys
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from client.errors import ImageFileError

_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Pixels:
    """An 8-bit RGB image in row-major order.

    Attributes:
        height: Pixels per column, at least 1.
        width: Pixels per row, at least 1.
        data: height * width * 3 bytes.
    """

    height: int
    width: int
    data: bytes


@runtime_checkable
class PixelArray(Protocol):
    """What numpy's arrays, and those like them, offer."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width, 3."""

    @property
    def dtype(self) -> object:
        """uint8."""

    def tobytes(self) -> bytes:
        """Return the elements in row-major order."""


@runtime_checkable
class PillowImage(Protocol):
    """What Pillow's images offer."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""

    @property
    def mode(self) -> str:
        """For example RGB."""

    def convert(self, mode: str) -> "PillowImage":
        """Return a copy in another mode."""

    def tobytes(self) -> bytes:
        """Return the pixels in row-major order."""


def pixels_of_array(array: PixelArray) -> Pixels:
    """Return the pixels of an array of uint8 [height, width, 3], RGB.

    Raises:
        ImageFileError: It has another type or shape.
    """
    shape = tuple(array.shape)
    if str(array.dtype) != "uint8" or len(shape) != _CHANNELS or shape[2] != _CHANNELS:
        raise ImageFileError(
            f"an array must be uint8 [height, width, 3], not {array.dtype} {list(shape)}",
            reason="NOT_AN_IMAGE",
        )
    return Pixels(int(shape[0]), int(shape[1]), array.tobytes())


def pixels_of_pillow(image: PillowImage) -> Pixels:
    """Return the pixels of a Pillow image, upright and on white, as the server makes them of a
    file."""
    if image.mode != "RGB" or _turned(image):
        image = _upright_on_white(image)
    width, height = image.size
    return Pixels(height, width, image.tobytes())


def _turned(image: PillowImage) -> bool:
    exif: dict[int, int] = getattr(image, "getexif", dict)()
    return bool(exif.get(0x0112, 1) != 1)  # Orientation, EXIF 2.32, section 4.6.4


def _upright_on_white(image: PillowImage) -> PillowImage:
    # Whoever has a Pillow image has loaded Pillow.
    pillow, ops = sys.modules["PIL.Image"], __import__("PIL.ImageOps").ImageOps
    upright: PillowImage = ops.exif_transpose(image)
    rgba = upright.convert("RGBA")
    white: PillowImage = pillow.alpha_composite(pillow.new("RGBA", rgba.size, "white"), rgba)
    return white.convert("RGB")
