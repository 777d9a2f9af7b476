"""Encoded bytes to the model's uint8 input: the only implementation there is.

The trainer's evaluation and the server both call it, so that what was measured
is what is served. Imports torch, torchvision and Pillow; no other room.

Decoders: JPEG goes to torchvision (libjpeg-turbo, twice as fast as Pillow);
CMYK JPEG, PNG and WebP go to Pillow, because torchvision's PNG decoder has
crashed the process on damaged files, drops alpha instead of compositing it and
keeps 16 bits. Colour profiles (ICC) are not applied.
"""

import io
import warnings

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from models.errors import CorruptImageError
from models.image_header import ImageFormat, ImageHeader, ImageLimits, check_size, read_header
from models.manifest import InputSpec

CHANNELS = 3
_CMYK_COMPONENTS = 4
_BACKGROUND = (255, 255, 255)  # transparent pixels are composited on white, as on a page


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
        if header.format is ImageFormat.JPEG and header.components != _CMYK_COMPONENTS:
            return _decode_jpeg(data)
        return _decode_pillow(data, header)
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


def _decode_jpeg(data: bytes) -> Tensor:
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    image: Tensor = decode_jpeg(encoded, mode=ImageReadMode.RGB, apply_exif_orientation=True)
    return image


def _decode_pillow(data: bytes, header: ImageHeader) -> Tensor:
    with warnings.catch_warnings():
        # Our own pixel limit has passed the image; Pillow's would only warn.
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data), formats=[header.format]) as image:
            image.load()
            rgb = _to_rgb(_upright(image))
    pixels = np.array(rgb, dtype=np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; damaged EXIF counts as none."""
    try:
        return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, AttributeError):
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":  # 16-bit grey: keep the high byte
        samples = np.asarray(image).astype(np.uint16)
        return Image.fromarray((samples >> 8).astype(np.uint8), mode="L").convert("RGB")
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, (*_BACKGROUND, 255))
        return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
