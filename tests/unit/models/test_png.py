import pytest

from models import png
from models.errors import CorruptImageError, ImageLimitError
from tests.unit.models import images

HEADER = images.png_header(1, 1)
DATA = images.png_data([b"\1\2\3"])


def kinds(data):
    return [chunk.kind for chunk in png.chunks(data)]


def test_chunks_end_at_iend():
    assert kinds(images.png_file(HEADER, DATA) + b"PK\3\4 more") == [b"IHDR", b"IDAT", b"IEND"]


def test_a_chunk_knows_what_it_holds_and_whether_it_is_whole():
    text = images.png_chunk(b"tEXt", b"a\0b")
    data = images.png_file(HEADER, images.with_damaged_checksum(text), DATA)
    header, damaged, *_ = png.chunks(data)
    assert (header.critical, header.intact) == (True, True)
    assert (damaged.critical, damaged.intact) == (False, False)
    assert bytes(damaged.data) == b"a\0b"


@pytest.mark.parametrize("missing", [1, 11, 12, 13, 30])
def test_a_cut_file(missing):
    with pytest.raises(CorruptImageError, match="cut short"):
        kinds(images.png_file(HEADER, DATA)[:-missing])


def test_too_many_chunks():
    text = images.png_chunk(b"tEXt", b"")
    assert len(kinds(images.png_file(*[text] * (png.MAX_CHUNKS - 1)))) == png.MAX_CHUNKS
    with pytest.raises(ImageLimitError):
        kinds(images.png_file(*[text] * png.MAX_CHUNKS))


def test_picture_only_drops_what_makes_no_picture():
    palette = images.png_chunk(b"PLTE", bytes(3))
    transparency = images.png_chunk(b"tRNS", b"\0")
    others = [
        images.png_chunk(kind, b"x")
        for kind in (b"iCCP", b"tEXt", b"iTXt", b"zTXt", b"gAMA", b"acTL", b"fcTL", b"fdAT")
    ]
    full = images.png_file(HEADER, *others, palette, transparency, DATA, *others)
    assert png.picture_only(full) == images.png_file(HEADER, palette, transparency, DATA)
