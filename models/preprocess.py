"""Encoded bytes to the model's uint8 input: the only implementation there is.

The trainer's evaluation and the server both call it, so that what was measured
is what is served. Imports torch, torchvision and Pillow; no other room.

Decoders, chosen by measurement (docs/decisions/0003-decoding.md):
- A JPEG or a plain WebP goes to torchvision (libjpeg-turbo and libwebp), which is faster
  than Pillow and copies less.
- A JPEG much larger than the model's input goes to Pillow, which has libjpeg-turbo
  compute only every 2nd, 4th or 8th pixel, each the mean of its neighbourhood.
- Everything else goes to Pillow: torchvision's PNG decoder has crashed the process on
  damaged files, drops alpha instead of compositing it and keeps 16 bits.

Of an animation the first frame is taken. Transparent pixels are composited on
white. Samples of 16 bits lose their low byte. Colour profiles (ICC) are not
applied, and the orientation is the one in EXIF.
"""

import io
from collections.abc import Callable
from math import ceil

import numpy as np
import torch
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, decode_webp

from models import jpeg, png
from models.errors import CorruptImageError
from models.image_header import ImageFormat, ImageHeader, ImageLimits, check_size, read_header
from models.manifest import CHANNELS, InputSpec

_SCALES = (8, 4, 2)
_OVERSAMPLING = 2  # what scaled decoding keeps in each direction, for resizing to smooth
_WHITE = 255
_OPAQUE = 255
# From an EXIF orientation to the axes of [3, h, w] to mirror, before transposing from 5 on.
_MIRRORED = {1: (), 2: (2,), 3: (1, 2), 4: (1,), 5: (), 6: (1,), 7: (1, 2), 8: (2,)}
_FIRST_TRANSPOSED = 5


def preprocess(data: bytes, spec: InputSpec, limits: ImageLimits) -> Tensor:
    """Turn an encoded image into the model's input.

    Returns:
        uint8 [3, spec.height, spec.width], RGB.

    Raises:
        ImageError: The image is refused; the message completes "image ...".
    """
    image, orientation = _read(data, limits, ceil(spec.height / spec.crop_fraction))
    # Turning the small result is cheaper than turning the photograph.
    small = resize(image, spec, _MIRRORED[orientation])
    return _upright(small, orientation).contiguous()


def decode(data: bytes, limits: ImageLimits, short_side: int | None = None) -> Tensor:
    """Decode a JPEG, PNG or WebP, upright by its EXIF orientation.

    Args:
        data: The file.
        limits: What it may cost.
        short_side: What the image will be reduced to, in pixels. One much larger may come
            at a half, a quarter or an eighth of its size, sides rounded up, as long as its
            short side is at least twice this. Not given: as it is.

    Returns:
        uint8 [3, h, w], RGB.

    Raises:
        ImageError: The image is refused; the message completes "image ...".
    """
    return _upright(*_read(data, limits, short_side))


def decode_raw(data: bytes, height: int, width: int, limits: ImageLimits) -> Tensor:
    """View raw RGB bytes, row-major [height, width, 3], as an image.

    Returns:
        uint8 [3, height, width].

    Raises:
        ImageError: A side is not positive, the limits are exceeded, or the number
            of bytes does not match; the message completes "image ...".
    """
    check_size(width, height, limits)
    if len(data) != height * width * CHANNELS:
        raise CorruptImageError(
            f"holds {len(data)} bytes; {height} x {width} x {CHANNELS} ="
            f" {height * width * CHANNELS} are needed"
        )
    return _encoded(data).view(height, width, CHANNELS).permute(2, 0, 1)


def resize(image: Tensor, spec: InputSpec, mirrored: tuple[int, ...] = ()) -> Tensor:
    """Crop the central square and scale it to the model's input.

    Cropping comes first, so that no intermediate is larger than the image.

    Args:
        image: uint8 [3, h, w].
        spec: The model's input.
        mirrored: Axes that will be mirrored afterwards: there, an odd pixel beside the
            square is left out at the other end.

    Returns:
        uint8 [3, spec.height, spec.width], contiguous.
    """
    _, height, width = image.shape
    if (height, width) == (spec.height, spec.width):
        return image.contiguous()
    side = max(1, round(min(height, width) * spec.crop_fraction))
    top, left = (
        (length - side + (axis in mirrored)) // 2 for axis, length in ((1, height), (2, width))
    )
    square = image[:, top : top + side, left : left + side]
    scaled = torch.nn.functional.interpolate(
        square.unsqueeze(0), size=(spec.height, spec.width), mode="bilinear", antialias=True
    )
    return scaled.squeeze(0).contiguous()


def _read(data: bytes, limits: ImageLimits, short_side: int | None) -> tuple[Tensor, int]:
    """The image as it lies in the file, uint8 [3, h, w], and its orientation."""
    header = read_header(data, limits)
    scale = _scale(header, short_side) if short_side else 1
    try:
        return _decode(data, header, scale), header.orientation
    except MemoryError:
        raise
    except Exception as error:
        # Decoders raise OSError, RuntimeError, SyntaxError, ValueError and more on damage.
        raise CorruptImageError(f"is a {header.format} that does not decode") from error


def _scale(header: ImageHeader, short_side: int) -> int:
    """How many times smaller each side may be decoded."""
    spare = min(header.width, header.height) / (_OVERSAMPLING * short_side)
    return next((scale for scale in _SCALES if scale <= spare), 1)


def _decode(data: bytes, header: ImageHeader, scale: int) -> Tensor:
    match header.format:
        case ImageFormat.JPEG if scale == 1:
            return _decode_torchvision(data, decode_jpeg)
        case ImageFormat.WEBP if header.plain:
            return _decode_torchvision(data, decode_webp)
        case _:
            return _decode_pillow(data, header, scale)


def _decode_torchvision(data: bytes, decoder: Callable[..., Tensor]) -> Tensor:
    # Not its own EXIF reader: that gives up when another block, such as XMP, comes first.
    return decoder(_encoded(data), mode=ImageReadMode.RGB)


def _encoded(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)  # bytes would be read-only


def _decode_pillow(data: bytes, header: ImageHeader, scale: int) -> Tensor:
    with _open(data, header.format) as image:
        # Before the pixels are allocated: the limits were checked on the header's size.
        if image.size != (header.width, header.height):
            raise CorruptImageError("is of two sizes")
        if header.format is ImageFormat.JPEG:
            image.draft(None, (image.width // scale, image.height // scale))
            image.decodermaxblock = len(data)  # in one go, without the GIL
            rgb = _to_rgb(image, header.bit_depth)
        else:
            rgb = _to_rgb(image, header.bit_depth).reduce(scale)
    return torch.from_numpy(np.array(rgb, dtype=np.uint8)).permute(2, 0, 1)


def _open(data: bytes, image_format: ImageFormat) -> ImageFile:
    match image_format:
        case ImageFormat.JPEG:
            return JpegImageFile(io.BytesIO(jpeg.picture_only(data)))
        case ImageFormat.PNG:
            return PngImageFile(io.BytesIO(png.picture_only(data)))
        case ImageFormat.WEBP:
            return WebPImageFile(io.BytesIO(data))


def _upright(image: Tensor, orientation: int) -> Tensor:
    axes = _MIRRORED[orientation]
    mirrored = image.flip(axes) if axes else image
    return mirrored.transpose(1, 2) if orientation >= _FIRST_TRANSPOSED else mirrored


def _to_rgb(image: ImageFile, bit_depth: int) -> Image.Image:
    image.load()
    if image.mode == "I;16":
        return _grey16_to_rgb(image)
    transparent = image.info.get("transparency")
    if image.mode == "L" and transparent is not None:
        # Pillow stretches samples of 2 and 4 bits to 8, and not the transparent one.
        image.info["transparency"] = transparent * 255 // (2**bit_depth - 1)
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, (_WHITE, _WHITE, _WHITE, _OPAQUE))
        return Image.alpha_composite(background, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey16_to_rgb(image: Image.Image) -> Image.Image:
    """Keep the high byte, as Pillow does for 16-bit colour."""
    samples = np.asarray(image)
    grey = (samples >> 8).astype(np.uint8)
    grey[samples == image.info.get("transparency", -1)] = _WHITE
    return Image.fromarray(grey, mode="L").convert("RGB")
