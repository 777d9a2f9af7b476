"""What is kept of a JPEG for the decoder that trips over the rest."""

import io

import pytest
from PIL import Image

from models import jpeg
from models.errors import CorruptImageError
from tests.unit.models import images


def plain(**options):
    return images.encode(images.photo(), "JPEG", **options)


def markers(data):
    return [segment.marker for segment in jpeg.segments(data)]


def test_segments_lie_where_they_say():
    data = plain()
    for segment in jpeg.segments(data):
        assert data[segment.start : segment.start + 2] == bytes([0xFF, segment.marker])
        assert data[segment.end - len(segment.data) : segment.end] == segment.data


def test_the_picture_stays():
    data = plain(progressive=True)
    assert jpeg.picture_only(data) == data


@pytest.mark.parametrize("marker", [*range(0xE1, 0xEE), 0xEF, 0xFE])
def test_what_is_beside_the_picture_goes(marker):
    data = plain()
    assert jpeg.picture_only(images.jpeg_with(images.jpeg_segment(marker, b"x"), data)) == data


def test_fill_goes():
    data = plain()
    assert jpeg.picture_only(data.replace(b"\xff\xdb", b"\xff" * 9 + b"\xdb", 1)) == data


def test_the_colours_stay():
    data = images.encode(images.photo(mode="CMYK"), "JPEG")
    assert 0xEE in markers(jpeg.picture_only(data))
    before, after = (Image.open(io.BytesIO(file)) for file in (data, jpeg.picture_only(data)))
    assert after.mode == "CMYK"
    assert after.tobytes() == before.tobytes()


def test_later_scans_keep_their_tables():
    data = plain(progressive=True)
    comment = images.jpeg_segment(0xFE, b"between scans")
    last = data.rindex(b"\xff\xda")
    commented = data[:last] + comment + data[last:]
    assert jpeg.picture_only(commented) == commented


def test_a_cut_file_is_refused():
    with pytest.raises(CorruptImageError):
        jpeg.picture_only(plain()[:40])
