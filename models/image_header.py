"""Read an image's header without decoding it: format, size, cost, completeness.

Nothing here allocates in proportion to what the header claims, so a hostile
header is refused before any decoder sees it. Truncation is found here as well,
because decoders fill what is missing with grey. Imports the errors, and the
readers of JPEG segments, PNG chunks and EXIF.

Sources: JPEG ITU-T T.81 annex B.2; PNG specification (third edition) section 5;
WebP RFC 9649 sections 2 and 3.
"""

from dataclasses import dataclass
from enum import StrEnum

from models import exif, jpeg, png
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
        max_frames: Frames of an animation, of which the first is decoded.
    """

    max_pixels: int = 50_000_000
    max_aspect_ratio: float = 100.0
    max_scans: int = 50
    max_frames: int = 1000


@dataclass(frozen=True)
class ImageHeader:
    """What a header says.

    Attributes:
        format: The container.
        width: Pixels, before any EXIF rotation.
        height: Pixels, before any EXIF rotation.
        orientation: From its EXIF block, 1 to 8; 1 is upright.
        scans: Scans of a JPEG; 1 otherwise.
        bit_depth: Bits of a sample in the file.
        plain: False for a WebP that is transparent or moves.
        frames: Frames of an animation; 1 otherwise.
    """

    format: ImageFormat
    width: int
    height: int
    orientation: int = exif.UPRIGHT
    scans: int = 1
    bit_depth: int = 8
    plain: bool = True
    frames: int = 1


_MAX_CHUNKS = 65_536  # walking them takes well under 0.1 s
_JPEG_DECODABLE = (0xC0, 0xC1, 0xC2)  # baseline, extended sequential, progressive; Huffman
_JPEG_BITS_PER_SAMPLE = 8
_JPEG_EXIF_PREFIX = b"Exif\x00\x00"
_VP8_KEYFRAME = b"\x9d\x01\x2a"
_VP8L_SIGNATURE, _VP8L_ALPHA = 0x2F, 1 << 28
_VP8X_ALPHA, _VP8X_ANIMATION = 0x10, 0x02


def read_header(data: bytes, limits: ImageLimits) -> ImageHeader:
    """Identify an encoded image and check what it claims against ``limits``.

    Raises:
        UnsupportedImageError: Not a JPEG, PNG or WebP, or a variant that is not decoded.
        ImageLimitError: Too many pixels or scans, or too long and thin.
        CorruptImageError: The structure is damaged or the file is cut short.
    """
    if data.startswith(jpeg.SIGNATURE):
        header = _read_jpeg(data)
    elif data.startswith(png.SIGNATURE):
        header = _read_png(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        header = _read_webp(data)
    else:
        raise UnsupportedImageError("is not a JPEG, PNG or WebP image")
    check_size(header.width, header.height, limits)
    if header.scans > limits.max_scans:
        raise ImageLimitError(f"has {header.scans} scans; at most {limits.max_scans} are allowed")
    if header.frames > limits.max_frames:
        raise ImageLimitError(
            f"has {header.frames} frames; at most {limits.max_frames} are allowed"
        )
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
    frame: bytes | None = None
    orientation: int | None = None
    scans = 0
    for segment in jpeg.segments(data):
        if segment.marker in jpeg.FRAMES:
            _check_jpeg_frame(segment, first=frame is None)
            frame = segment.data
        elif orientation is None and _is_exif(segment):
            orientation = exif.orientation(segment.data)
        scans += segment.marker == jpeg.SOS
    if frame is None or scans == 0:
        raise CorruptImageError("is a JPEG without image data")
    return ImageHeader(
        ImageFormat.JPEG,
        width=int.from_bytes(frame[3:5], "big"),
        height=int.from_bytes(frame[1:3], "big"),
        orientation=orientation or exif.UPRIGHT,
        scans=scans,
    )


def _is_exif(segment: jpeg.Segment) -> bool:
    return segment.marker == jpeg.APP1 and segment.data.startswith(_JPEG_EXIF_PREFIX)


def _check_jpeg_frame(frame: jpeg.Segment, *, first: bool) -> None:
    """Check that a frame header (T.81 B.2.2) is whole, of a process that is decoded, and alone."""
    if not first:  # decoders differ in which of two sizes they believe
        raise CorruptImageError("is a JPEG of two frames")
    if len(frame.data) < 6:  # noqa: PLR2004 - precision, height, width, number of components
        raise CorruptImageError("is a JPEG with a damaged header")
    if frame.marker not in _JPEG_DECODABLE or frame.data[0] != _JPEG_BITS_PER_SAMPLE:
        raise UnsupportedImageError(
            "is a JPEG that is neither baseline nor progressive with 8 bits a sample"
        )


def _read_png(data: bytes) -> ImageHeader:
    chunks = png.chunks(data)
    first = next(chunks)
    if first.kind != b"IHDR" or len(first.data) != 13 or not first.intact:  # noqa: PLR2004
        raise CorruptImageError("is a PNG with a damaged header")
    orientation, frames = exif.UPRIGHT, 0
    for chunk in chunks:
        # A second header would change the size behind our back.
        if chunk.critical and (chunk.kind == b"IHDR" or not chunk.intact):
            raise CorruptImageError("is a PNG with a damaged chunk")
        if chunk.kind == b"eXIf" and chunk.intact:
            orientation = exif.orientation(bytes(chunk.data))
        frames += chunk.kind == b"fcTL"
    return ImageHeader(
        ImageFormat.PNG,
        width=int.from_bytes(first.data[:4], "big"),
        height=int.from_bytes(first.data[4:8], "big"),
        orientation=orientation,
        bit_depth=first.data[8],
        frames=max(1, frames),
    )


def _read_webp(data: bytes) -> ImageHeader:
    end = int.from_bytes(data[4:8], "little") + 8
    if end > len(data) or end < 30:  # noqa: PLR2004 - the largest of the headers below
        raise CorruptImageError("is a WebP that is cut short")
    kind, plain = data[12:16], True
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        plain = not data[20] & (_VP8X_ALPHA | _VP8X_ANIMATION)
    elif kind == b"VP8L" and data[20] == _VP8L_SIGNATURE:
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
        plain = not bits & _VP8L_ALPHA
    elif kind == b"VP8 " and data[23:26] == _VP8_KEYFRAME:
        width = int.from_bytes(data[26:28], "little") & 0x3FFF
        height = int.from_bytes(data[28:30], "little") & 0x3FFF
    else:
        raise CorruptImageError("is a WebP with a damaged header")
    orientation, frames = _webp_extras(data[:end])
    return ImageHeader(
        ImageFormat.WEBP, width, height, orientation, plain=plain, frames=max(1, frames)
    )


def _webp_extras(data: bytes) -> tuple[int, int]:
    """Orientation, by the first EXIF block, and frames."""
    position, frames = 12, 0
    orientation: int | None = None
    for _ in range(_MAX_CHUNKS):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        kind = data[position : position + 4]
        if kind == b"EXIF" and orientation is None:
            orientation = exif.orientation(data[position + 8 : position + 8 + size])
        frames += kind == b"ANMF"
        position += 8 + size + size % 2
        if position >= len(data):
            return orientation or exif.UPRIGHT, frames
    raise ImageLimitError(f"is a WebP of more than {_MAX_CHUNKS} chunks")
