"""Batches of JPEG files: which go to the device, and what happens to the others.

The device's decoder is torchvision's on the CPU, but for the tests that need a GPU.
"""

import asyncio
from io import BytesIO

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from models.errors import ImageError
from models.image_header import ImageLimits
from models.manifest import InputSpec
from models.preprocess import preprocess
from server.errors import InvalidRequestError
from server.pipeline.decode import DecodePool, EncodedImage, MeasuredImage, measuring
from server.pipeline.nvjpeg import JpegBatches, JpegFile, on_gpu, scale
from tests.integration.conftest import PHOTOS

SPEC = InputSpec(height=64, width=64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), crop_fraction=0.9)
FILES = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]
LIMITS = ImageLimits()


class Device:
    """Decodes on the CPU; keeps how many files it was given."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, files: list[Tensor]) -> list[Tensor]:
        self.asked.append(len(files))
        return [decode_jpeg(file, mode=ImageReadMode.RGB) for file in files]


def encoded(data: bytes, kind: str, **options: object) -> bytes:
    file = BytesIO()
    with Image.open(BytesIO(data)) as image:
        image.save(file, kind, **options)
    return file.getvalue()


def turned(data: bytes) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(data, "JPEG", exif=exif)


def near(one: Tensor | Exception, other: Tensor) -> bool:
    assert isinstance(one, Tensor)
    assert one.shape == other.shape
    assert one.dtype == torch.uint8
    return float((one.float() - other.float()).abs().mean()) < 1.0


def test_pixels_are_those_of_preprocessing_but_for_rounding() -> None:
    device = Device()
    batches = JpegBatches(LIMITS, device)
    small = [encoded(data, "JPEG", quality=95) for data in FILES]
    for data, image in zip(small, batches.decode([JpegFile(d, SPEC) for d in small]), strict=True):
        assert near(image, preprocess(data, SPEC, LIMITS))
    assert device.asked == [len(small)]


def test_what_the_device_has_no_path_for_goes_to_the_cpu_file_by_file() -> None:
    device = Device()
    batches = JpegBatches(LIMITS, device)
    others = [
        encoded(FILES[0], "PNG"),
        turned(FILES[0]),
        encoded(FILES[0], "JPEG", progressive=True),
        b"no image",
    ]
    assert not any(batches.takes(data) for data in others)
    found = batches.decode([JpegFile(data, SPEC) for data in [*others, FILES[1]]])
    assert device.asked == [1]
    for data, image in zip(others[:3], found[:3], strict=True):
        assert isinstance(image, Tensor)
        assert torch.equal(image, preprocess(data, SPEC, LIMITS))
    assert isinstance(found[3], ImageError)
    assert near(found[4], preprocess(FILES[1], SPEC, LIMITS))


def test_a_batch_that_the_device_fails_on_goes_to_the_cpu_file_by_file() -> None:
    def fails_on_the_first(files: list[Tensor]) -> list[Tensor]:
        if any(len(file) == len(FILES[0]) for file in files):
            raise RuntimeError("nvjpegDecode failed")
        return Device()(files)

    batches = JpegBatches(LIMITS, fails_on_the_first)
    cut_short = FILES[3][:600]
    found = batches.decode([JpegFile(data, SPEC) for data in (FILES[1], FILES[0], cut_short)])
    for image, data in zip(found[:2], (FILES[1], FILES[0]), strict=True):
        assert isinstance(image, Tensor)
        assert torch.equal(image, preprocess(data, SPEC, LIMITS))
    assert isinstance(found[2], ImageError)


async def test_a_pool_decodes_what_arrives_together_in_one_batch() -> None:
    device = Device()
    pool = DecodePool(2, 64, LIMITS, JpegBatches(LIMITS, device))
    try:
        sources = [MeasuredImage(EncodedImage(data, "image"), measuring()) for data in FILES[:4]]
        await asyncio.gather(*(pool.decode(source, SPEC) for source in sources))
        assert device.asked == []  # not before it has shown that it agrees
        images = torch.stack([preprocess(data, SPEC, LIMITS) for data in FILES[:3]])
        await pool.try_batches(images, SPEC)
        device.asked.clear()
        decoded = await asyncio.gather(*(pool.decode(source, SPEC) for source in sources))
        assert device.asked == [4]
        for source, image, data in zip(sources, decoded, FILES, strict=False):
            assert near(image, preprocess(data, SPEC, LIMITS))
            assert source.statistics is not None
        assert pool.depth == 0
        assert pool.mean_s > 0
        refused = MeasuredImage(EncodedImage(b"no image", "image"), measuring())
        with pytest.raises(InvalidRequestError, match="image"):
            await pool.decode(refused, SPEC)
    finally:
        pool.close()


def test_a_device_whose_pixels_differ_or_that_fails_is_not_used() -> None:
    images = torch.stack([preprocess(data, SPEC, LIMITS) for data in FILES[:3]])
    device = Device()
    assert JpegBatches(LIMITS, device).agrees(images, SPEC)
    assert not JpegBatches(LIMITS, lambda f: [one // 2 for one in device(f)]).agrees(images, SPEC)

    def fails(_files: list[Tensor]) -> list[Tensor]:
        raise RuntimeError("nvjpegCreate failed")

    assert not JpegBatches(LIMITS, fails).agrees(images, SPEC)


def test_an_image_of_the_right_size_is_left_as_it_is() -> None:
    image = torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    assert torch.equal(scale(image, SPEC), image)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_gpu_it_agrees() -> None:
    images = torch.stack([preprocess(data, SPEC, LIMITS) for data in FILES[:3]])
    assert JpegBatches(LIMITS, on_gpu).agrees(images, SPEC)
