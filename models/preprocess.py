"""Encoded bytes to the model's uint8 input: the only implementation there is.

The trainer's evaluation and the server both call it, so that what was measured
is what is served. Imports torch, torchvision and Pillow; no other room.

Decoders: JPEG goes to torchvision (libjpeg-turbo, twice as fast as Pillow); PNG
and WebP go to Pillow, because torchvision's PNG decoder has crashed the process
on damaged files, drops alpha instead of compositing it and keeps 16 bits.

Of an animation the first frame is taken. Transparent pixels are composited on
white. Samples of 16 bits lose their low byte. Colour profiles (ICC) are not
applied, and the orientation is the one in EXIF.
"""

import io

import numpy as np
import torch
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from models import png
from models.errors import CorruptImageError
from models.image_header import ImageFormat, ImageHeader, ImageLimits, check_size, read_header
from models.manifest import CHANNELS, InputSpec

_WHITE = 255
_OPAQUE = 255
# From an EXIF orientation to the axes of [3, h, w] to flip, after transposing from 5 on.
_FIRST_TRANSPOSED = 5
_FLIPS = {1: (), 2: (2,), 3: (1, 2), 4: (1,), 5: (), 6: (2,), 7: (1, 2), 8: (1,)}


def preprocess(data: bytes, spec: InputSpec, limits: ImageLimits) -> Tensor:
    """Turn an encoded image into the model's input.

    Returns:
        uint8 [3, spec.height, spec.width], RGB.

    Raises:
        ImageError: The image is refused; the message completes "image ...".
    """
    return resize(decode(data, limits), spec)


def decode(data: bytes, limits: ImageLimits) -> Tensor:
    """Decode a JPEG, PNG or WebP, upright by its EXIF orientation.

    Returns:
        uint8 [3, h, w], RGB.

    Raises:
        ImageError: The image is refused; the message completes "image ...".
    """
    header = read_header(data, limits)
    try:
        return _upright(_decode(data, header), header.orientation)
    except MemoryError:
        raise
    except Exception as error:
        # Decoders raise OSError, RuntimeError, SyntaxError, ValueError and more on damage.
        raise CorruptImageError(f"is a {header.format} that does not decode") from error


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
    pixels = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # bytes would be read-only
    return pixels.view(height, width, CHANNELS).permute(2, 0, 1)


def resize(image: Tensor, spec: InputSpec) -> Tensor:
    """Crop the central square and scale it to the model's input.

    Cropping comes first, so that no intermediate is larger than the image.

    Args:
        image: uint8 [3, h, w].
        spec: The model's input.

    Returns:
        uint8 [3, spec.height, spec.width], contiguous.
    """
    _, height, width = image.shape
    if (height, width) == (spec.height, spec.width):
        return image.contiguous()
    side = max(1, round(min(height, width) * spec.crop_fraction))
    top, left = (height - side) // 2, (width - side) // 2
    square = image[:, top : top + side, left : left + side]
    scaled = torch.nn.functional.interpolate(
        square.unsqueeze(0), size=(spec.height, spec.width), mode="bilinear", antialias=True
    )
    return scaled.squeeze(0).contiguous()


def _decode(data: bytes, header: ImageHeader) -> Tensor:
    match header.format:
        case ImageFormat.JPEG:
            return _decode_jpeg(data)
        case ImageFormat.PNG:
            return _decode_pillow(PngImageFile(io.BytesIO(png.picture_only(data))), header)
        case ImageFormat.WEBP:
            return _decode_pillow(WebPImageFile(io.BytesIO(data)), header)


def _decode_jpeg(data: bytes) -> Tensor:
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    # Its own EXIF reader gives up when another block, such as XMP, comes first.
    image: Tensor = decode_jpeg(encoded, mode=ImageReadMode.RGB)
    return image


def _decode_pillow(image: ImageFile, header: ImageHeader) -> Tensor:
    with image:
        # Before the pixels are allocated: the limits were checked on the header's size.
        if image.size != (header.width, header.height):
            raise CorruptImageError("is of two sizes")
        image.load()
        rgb = _to_rgb(image, header.bit_depth)
    return torch.from_numpy(np.array(rgb, dtype=np.uint8)).permute(2, 0, 1)


def _upright(image: Tensor, orientation: int) -> Tensor:
    if orientation >= _FIRST_TRANSPOSED:
        image = image.transpose(1, 2)
    axes = _FLIPS[orientation]
    return image.flip(axes) if axes else image


def _to_rgb(image: Image.Image, bit_depth: int) -> Image.Image:
    if image.mode == "I;16":
        return _grey16_to_rgb(image)
    transparent = image.info.get("transparency")
    if image.mode == "L" and transparent is not None:
        # Pillow stretches samples of 2 and 4 bits to 8, and not the transparent one.
        image.info["transparency"] = transparent * 255 // (2**bit_depth - 1)
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, (_WHITE, _WHITE, _WHITE, _OPAQUE))
        return Image.alpha_composite(background, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _grey16_to_rgb(image: Image.Image) -> Image.Image:
    """Keep the high byte, as Pillow does for 16-bit colour."""
    samples = np.asarray(image)
    grey = (samples >> 8).astype(np.uint8)
    grey[samples == image.info.get("transparency", -1)] = _WHITE
    return Image.fromarray(grey, mode="L").convert("RGB")
