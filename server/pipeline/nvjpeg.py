"""Whole batches of JPEG files decoded by the GPU, for hosts whose cores cannot keep up with it.

nvJPEG rounds otherwise than libjpeg-turbo, and the GPU scales in floating point: pixels differ a
little from those of ``models.preprocess``, which evaluation went by. So it is an option, tried on
each model's golden images at load and left alone where it differs by more than rounding. What
nvJPEG has no path for (other formats, rotated or progressive files), and any batch that it fails
on, goes to ``models.preprocess``, file by file, so that one damaged file fails alone.

Source: https://docs.pytorch.org/vision/stable/generated/torchvision.io.decode_jpeg.html
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from models import exif
from models.errors import ImageError
from models.image_header import ImageFormat, ImageLimits, read_header
from models.manifest import InputSpec
from models.preprocess import preprocess

log = logging.getLogger(__name__)

_MOST_MEAN_DIFFERENCE = 1.0  # levels of 255: rounding of two decoders and two ways to scale
_TRIED_QUALITY = 90

DecodeMany = Callable[[list[Tensor]], list[Tensor]]


@dataclass(frozen=True)
class JpegFile:
    """A file to decode.

    Attributes:
        data: As it came.
        spec: The model's input.
    """

    data: bytes
    spec: InputSpec


def on_gpu(files: list[Tensor]) -> list[Tensor]:
    """uint8 [3, h, w] on the current GPU for each file, uint8 [bytes] on the CPU.

    Raises:
        RuntimeError: One cannot be decoded; nothing is told of the others.
    """
    decoded: list[Tensor] = decode_jpeg(files, mode=ImageReadMode.RGB, device="cuda")
    return decoded


class JpegBatches:
    """Decodes batches of files to models' inputs, on the CPU again: they are small.

    Args:
        limits: What an image may cost.
        decode_many: Decodes files on a device, see :func:`on_gpu`.
    """

    def __init__(self, limits: ImageLimits, decode_many: DecodeMany = on_gpu) -> None:
        self._limits = limits
        self._decode_many = decode_many

    def takes(self, data: bytes) -> bool:
        """Whether a file is for the GPU: a plain, upright JPEG within the limits."""
        try:
            header = read_header(data, self._limits)
        except ImageError:
            return False  # the CPU's way says what is wrong
        upright = header.orientation == exif.UPRIGHT
        return header.format is ImageFormat.JPEG and upright and header.scans == 1

    def decode(self, files: Sequence[JpegFile]) -> list[Tensor | Exception]:
        """The models' inputs, uint8 [3, spec.height, spec.width] each, or why there is none."""
        ours = [index for index, file in enumerate(files) if self.takes(file.data)]
        found: dict[int, Tensor | Exception] = {}
        try:
            images = self._decode_many([_bytes(files[index].data) for index in ours])
            scaled = [
                scale(image, files[index].spec).cpu()
                for index, image in zip(ours, images, strict=True)
            ]
            found.update(zip(ours, scaled, strict=True))
        except RuntimeError as error:  # of damaged files, and of memory
            log.info("a batch of %d files goes to the CPU: %s", len(ours), str(error)[-200:])
        return [
            found[index] if index in found else self._alone(file)
            for index, file in enumerate(files)
        ]

    def agrees(self, images: Tensor, spec: InputSpec) -> bool:
        """Whether it gives nearly the pixels that ``models.preprocess`` gives.

        Args:
            images: uint8 [n, 3, h, w], natural ones, of which files are made.
            spec: The model's input.
        """
        files = [
            JpegFile(encode_jpeg(image, quality=_TRIED_QUALITY).numpy().tobytes(), spec)
            for image in functional.interpolate(images.float(), scale_factor=1.5, mode="bilinear")
            .round()
            .to(torch.uint8)
        ]
        try:
            decoded = self._decode_many([_bytes(file.data) for file in files])
        except RuntimeError as error:
            log.warning("JPEG files are decoded on the CPU: %s", str(error)[-200:])
            return False
        differences = [
            (scale(image, spec).cpu().float() - preprocess(file.data, spec, self._limits))
            .abs()
            .mean()
            for image, file in zip(decoded, files, strict=True)
        ]
        worst = float(max(differences))
        if worst > _MOST_MEAN_DIFFERENCE:
            log.warning("JPEG files are decoded on the CPU: pixels would differ by %.2f", worst)
        return worst <= _MOST_MEAN_DIFFERENCE

    def _alone(self, file: JpegFile) -> Tensor | Exception:
        try:
            return preprocess(file.data, file.spec, self._limits)
        except ImageError as error:
            return error


def scale(image: Tensor, spec: InputSpec) -> Tensor:
    """As ``models.preprocess.resize``, on a device that cannot scale whole numbers.

    Args:
        image: uint8 [3, h, w].
        spec: The model's input.

    Returns:
        uint8 [3, spec.height, spec.width].
    """
    _, height, width = image.shape
    if (height, width) == (spec.height, spec.width):
        return image
    side = max(1, round(min(height, width) * spec.crop_fraction))
    top, left = (height - side) // 2, (width - side) // 2
    square = image[:, top : top + side, left : left + side].unsqueeze(0).float()
    size = (spec.height, spec.width)
    scaled = functional.interpolate(square, size=size, mode="bilinear", antialias=True)
    return scaled.squeeze(0).round().clamp(0, 255).to(torch.uint8)


def _bytes(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
