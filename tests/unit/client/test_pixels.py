import io

import numpy as np
import pytest
from PIL import Image

from client import ImageFileError
from client.images import MAX_IMAGE_BYTES, image_content
from client.pixels import Pixels


def test_an_array():
    array = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert image_content(array) == Pixels(2, 3, bytes(range(18)))
    turned = image_content(array.transpose(1, 0, 2))  # not contiguous
    assert (turned.height, turned.width) == (3, 2)
    assert turned.data[3:6] == bytes(array[1, 0])


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 3, 3), np.float32),
        np.zeros((2, 3), np.uint8),
        np.zeros((2, 3, 4), np.uint8),
        np.zeros((3, 4, 5), np.uint8),
    ],
)
def test_another_array_is_refused_by_name(array):
    with pytest.raises(ImageFileError, match="uint8 \\[height, width, 3\\], not"):
        image_content(array)


def test_a_pillow_image():
    image = Image.new("RGB", (3, 2), (1, 2, 3))
    assert image_content(image) == Pixels(2, 3, bytes([1, 2, 3] * 6))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_a_pillow_image_of_another_mode(mode):
    pixels = image_content(Image.new(mode, (3, 2)))
    assert len(pixels.data) == 18
    if mode in ("RGBA", "LA"):
        assert pixels.data == b"\xff" * 18  # nothing, on white


def test_a_turned_pillow_image_is_put_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (8, 4)).save(file, "JPEG", exif=exif)
    pixels = image_content(Image.open(file))
    assert (pixels.height, pixels.width) == (8, 4)


def test_too_many_pixels():
    side = int((MAX_IMAGE_BYTES / 3) ** 0.5) + 1
    with pytest.raises(ImageFileError, match="too large"):
        image_content(np.zeros((side, side, 3), np.uint8))


def test_pixels_reach_the_server(server, client):
    client.classify(np.zeros((2, 3, 3), np.uint8))
    list(client.classify_many([("a", Image.new("RGB", (5, 4)))]))
    first, second = (request.image for request in server.requests)
    assert (first.raw.height, first.raw.width, len(first.raw.data)) == (2, 3, 18)
    assert (second.raw.height, second.raw.width) == (4, 5)
    assert not first.HasField("encoded")


def test_what_is_no_image():
    with pytest.raises(ImageFileError, match="int is no encoded image"):
        image_content(7)
