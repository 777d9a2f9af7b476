"""Read an image's header without decoding it: format, size, cost, completeness.

Nothing here allocates in proportion to what the header claims, so a hostile
header is refused before any decoder sees it. Truncation is found here as well,
because decoders fill what is missing with grey. Imports only the errors.

Sources: JPEG ITU-T T.81 annex B; PNG specification (third edition) section 5;
WebP container RFC 9649.
"""

import re
import zlib
from dataclasses import dataclass
from enum import StrEnum

from models.errors import CorruptImageError, ImageLimitError, UnsupportedImageError


class ImageFormat(StrEnum):
    """The formats that reach a decoder."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WEBP"


@dataclass(frozen=True)
class ImageLimits:
    """What an image may cost.

    Attributes:
        max_pixels: Width times height, in pixels.
        max_aspect_ratio: Long side over short side.
        max_scans: Scans of a progressive JPEG. Each one costs a pass over the image;
            encoders write about ten.
    """

    max_pixels: int = 50_000_000
    max_aspect_ratio: float = 100.0
    max_scans: int = 50


@dataclass(frozen=True)
class ImageHeader:
    """What a header says.

    Attributes:
        format: The container.
        width: Pixels, before any EXIF rotation.
        height: Pixels, before any EXIF rotation.
        components: Colour components of a JPEG (1 grey, 3 YCbCr or RGB, 4 CMYK); 0 otherwise.
        scans: Scans of a JPEG; 1 otherwise.
    """

    format: ImageFormat
    width: int
    height: int
    components: int = 0
    scans: int = 1


_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A marker inside entropy-coded data: 0xFF, perhaps repeated, then anything but
# a stuffed zero or a restart marker (T.81 B.1.1.2).
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_SOF_DECODABLE = (0xC0, 0xC1, 0xC2)  # baseline, extended sequential, progressive; Huffman
_SOF_ALL = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BITS_PER_SAMPLE = 8
_VP8_KEYFRAME = b"\x9d\x01\x2a"
_VP8L_SIGNATURE = 0x2F


def read_header(data: bytes, limits: ImageLimits) -> ImageHeader:
    """Identify an encoded image and check what it claims against ``limits``.

    Raises:
        UnsupportedImageError: Not a JPEG, PNG or WebP, or a variant that is not decoded.
        ImageLimitError: Too many pixels or scans, or too long and thin.
        CorruptImageError: The structure is damaged or the file is cut short.
    """
    if data.startswith(b"\xff\xd8"):
        header = _read_jpeg(data)
    elif data.startswith(_PNG_SIGNATURE):
        header = _read_png(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        header = _read_webp(data)
    else:
        raise UnsupportedImageError("is not a JPEG, PNG or WebP image")
    check_size(header.width, header.height, limits)
    if header.scans > limits.max_scans:
        raise ImageLimitError(f"has {header.scans} scans; at most {limits.max_scans} are allowed")
    return header


def check_size(width: int, height: int, limits: ImageLimits) -> None:
    """Check an image's claimed size, in pixels, against ``limits``.

    Raises:
        CorruptImageError: A side is zero or negative.
        ImageLimitError: Too many pixels, or too long and thin.
    """
    if width < 1 or height < 1:
        raise CorruptImageError(f"is {width} x {height} pixels; each side must be at least 1")
    if width * height > limits.max_pixels:
        raise ImageLimitError(
            f"is {width} x {height} pixels; at most {limits.max_pixels} pixels are allowed"
        )
    if max(width, height) > limits.max_aspect_ratio * min(width, height):
        raise ImageLimitError(
            f"is {width} x {height} pixels; the long side may be at most"
            f" {limits.max_aspect_ratio:g} times the short side"
        )


def _read_jpeg(data: bytes) -> ImageHeader:
    frame: tuple[int, int, int] | None = None
    scans = 0
    position = 2
    while True:
        match = _JPEG_MARKER.search(data, position)
        if match is None:
            raise CorruptImageError("is a JPEG that is cut short")
        # Between segments a marker must follow at once; after a scan, data may come first.
        if scans == 0 and match.start() != position:
            raise CorruptImageError("is a JPEG with a damaged header")
        marker = match[1][0]
        position = match.end()
        if marker == _EOI:
            break
        if marker in (_SOI, _TEM):
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        if length < 2 or position + length > len(data):  # noqa: PLR2004 - the length counts itself
            raise CorruptImageError("is a JPEG that is cut short")
        if marker in _SOF_ALL and frame is None:
            frame = _read_jpeg_frame(marker, data[position + 2 : position + length])
        scans += marker == _SOS
        position += length
    if frame is None or scans == 0:
        raise CorruptImageError("is a JPEG without image data")
    height, width, components = frame
    return ImageHeader(ImageFormat.JPEG, width, height, components, scans)


def _read_jpeg_frame(marker: int, segment: bytes) -> tuple[int, int, int]:
    """Height, width and number of components from a frame header (T.81 B.2.2)."""
    if len(segment) < 6:  # noqa: PLR2004 - precision, height, width, components
        raise CorruptImageError("is a JPEG with a damaged header")
    if marker not in _SOF_DECODABLE or segment[0] != _BITS_PER_SAMPLE:
        raise UnsupportedImageError(
            "is a JPEG that is neither baseline nor progressive with 8 bits a sample"
        )
    return (
        int.from_bytes(segment[1:3], "big"),
        int.from_bytes(segment[3:5], "big"),
        segment[5],
    )


def _read_png(data: bytes) -> ImageHeader:
    if data[12:16] != b"IHDR" or len(data) < 33:  # noqa: PLR2004 - signature and IHDR chunk
        raise CorruptImageError("is a PNG with a damaged header")
    position = len(_PNG_SIGNATURE)
    view = memoryview(data)
    while True:
        length = int.from_bytes(view[position : position + 4], "big")
        end = position + 12 + length
        if end > len(data):
            raise CorruptImageError("is a PNG that is cut short")
        kind = data[position + 4 : position + 8]
        # Critical chunks have an upper-case first letter; damage to others is harmless.
        if kind[0] < ord("a"):
            expected = int.from_bytes(view[end - 4 : end], "big")
            if zlib.crc32(view[position + 4 : end - 4]) != expected:
                raise CorruptImageError("is a PNG with a damaged chunk")
        if kind == b"IEND":
            break
        position = end
    width = int.from_bytes(data[16:20], "big")
    height = int.from_bytes(data[20:24], "big")
    return ImageHeader(ImageFormat.PNG, width, height)


def _read_webp(data: bytes) -> ImageHeader:
    if int.from_bytes(data[4:8], "little") + 8 > len(data) or len(data) < 30:  # noqa: PLR2004
        raise CorruptImageError("is a WebP that is cut short")
    kind = data[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
    elif kind == b"VP8L" and data[20] == _VP8L_SIGNATURE:
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    elif kind == b"VP8 " and data[23:26] == _VP8_KEYFRAME:
        width = int.from_bytes(data[26:28], "little") & 0x3FFF
        height = int.from_bytes(data[28:30], "little") & 0x3FFF
    else:
        raise CorruptImageError("is a WebP with a damaged header")
    return ImageHeader(ImageFormat.WEBP, width, height)
