"""Every image that must be refused before a decoder sees it, and what headers say."""

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import preprocess
from models.errors import (
    CorruptImageError,
    ImageError,
    ImageLimitError,
    UnsupportedImageError,
)
from models.image_header import ImageFormat, ImageHeader, ImageLimits, check_size, read_header
from tests.unit.models import images
from tests.unit.models.hostile import (
    CORRUPT,
    LIMIT,
    UNSUPPORTED,
    jpeg,
    png,
    progressive,
    webp,
)

LIMITS = ImageLimits()


REFUSED = [
    pytest.param(make, error, id=name)
    for cases, error in (
        (UNSUPPORTED, UnsupportedImageError),
        (LIMIT, ImageLimitError),
        (CORRUPT, CorruptImageError),
    )
    for name, make in cases.items()
]


@pytest.mark.parametrize(("make", "error"), REFUSED)
def test_refused_before_any_decoder(monkeypatch, make, error):
    def decoder(*_):
        pytest.fail("reached a decoder")

    monkeypatch.setattr(preprocess, "_decode", decoder)
    data = make()
    with pytest.raises(error) as refused:
        preprocess.decode(data, LIMITS)
    assert type(refused.value) is error


@pytest.mark.parametrize(("make", "error"), REFUSED)
def test_refusing_is_quick_and_takes_no_memory(make, error):
    data = make()
    started = time.process_time()
    with pytest.raises(error):
        read_header(data, LIMITS)
    assert time.process_time() - started < 1.0
    tracemalloc.start()
    try:
        with pytest.raises(error):
            read_header(data, LIMITS)
        assert tracemalloc.get_traced_memory()[1] < len(data) + 1_000_000
    finally:
        tracemalloc.stop()


def test_a_refusal_quotes_nothing_of_the_image():
    with pytest.raises(ImageError) as refused:
        read_header(images.HTML, LIMITS)
    assert str(refused.value) == "is not a JPEG, PNG or WebP image"


def test_a_size_refusal_names_the_size_and_the_limit():
    with pytest.raises(ImageLimitError, match="20000 x 20000 pixels; at most 50000000"):
        read_header(images.jpeg_claiming(20_000, 20_000), LIMITS)


def test_jpeg_headers():
    assert read_header(jpeg(), LIMITS) == ImageHeader(ImageFormat.JPEG, 48, 32)
    assert read_header(progressive(), LIMITS) == ImageHeader(ImageFormat.JPEG, 48, 32, scans=10)


def test_scans_are_counted():
    assert read_header(images.jpeg_of_scans(50), LIMITS).scans == 50
    with pytest.raises(ImageLimitError, match="50 scans; at most 49"):
        read_header(images.jpeg_of_scans(50), ImageLimits(max_scans=49))


@pytest.mark.parametrize(("mode", "depth"), [("1", 1), ("L", 8), ("RGB", 8), ("I;16", 16)])
def test_png_headers(mode, depth):
    image = images.Image.new(mode, (5, 7))
    header = read_header(images.encode(image, "PNG"), LIMITS)
    assert header == ImageHeader(ImageFormat.PNG, 5, 7, bit_depth=depth)


@pytest.mark.parametrize(
    "options",
    [{}, {"lossless": True}, {"exif": b"Exif\0\0" + images.exif(1)}],
    ids=["VP8", "VP8L", "VP8X"],
)
def test_webp_headers(options):
    data = images.encode(images.photo(), "WEBP", **options)
    assert read_header(data, LIMITS) == ImageHeader(ImageFormat.WEBP, 48, 32)


@pytest.mark.parametrize("lossless", [False, True])
def test_a_webp_that_is_transparent_or_moves_is_not_plain(lossless):
    clear = images.photo(mode="RGBA")
    clear.putalpha(images.Image.linear_gradient("L").resize(clear.size))
    data = images.encode(clear, "WEBP", lossless=lossless)
    assert not read_header(data, LIMITS).plain
    assert not read_header(images.animated_webp(), LIMITS).plain


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_found(image_format, orientation):
    data = images.encode(images.photo(), image_format, exif=b"Exif\0\0" + images.exif(orientation))
    assert read_header(data, LIMITS).orientation == orientation


def test_orientation_is_found_behind_other_blocks():
    xmp = images.jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>")
    data = images.jpeg_with(xmp + images.jpeg_exif(images.exif(6)), jpeg())
    assert read_header(data, LIMITS).orientation == 6


def test_the_first_exif_block_counts():
    blocks = images.jpeg_exif(images.exif(3)) + images.jpeg_exif(images.exif(6))
    assert read_header(images.jpeg_with(blocks, jpeg()), LIMITS).orientation == 3


def test_a_thumbnail_in_exif_is_not_the_image():
    thumbnail = images.encode(images.photo(16, 8), "JPEG", progressive=True)
    data = images.jpeg_with(images.jpeg_exif(images.exif(6) + thumbnail), jpeg())
    assert read_header(data, LIMITS) == ImageHeader(ImageFormat.JPEG, 48, 32, orientation=6)


def test_a_png_exif_chunk_with_a_wrong_checksum_does_not_count():
    chunk = images.png_chunk(b"eXIf", images.exif(6))
    assert read_header(images.png_with(chunk, png()), LIMITS).orientation == 6
    damaged = images.with_damaged_checksum(chunk)
    assert read_header(images.png_with(damaged, png()), LIMITS).orientation == 1


def test_webp_chunks_are_padded_to_even_lengths():
    chunks = (images.webp_chunk(b"XXXX", b"odd"), images.webp_chunk(b"EXIF", images.exif(6)))
    assert read_header(images.webp_file(webp()[12:], *chunks), LIMITS).orientation == 6


def test_what_follows_a_webp_is_not_read():
    tail = images.webp_chunk(b"EXIF", images.exif(6))
    assert read_header(webp() + tail, LIMITS).orientation == 1


@pytest.mark.parametrize(("width", "height"), [(1, 1), (100, 1), (1, 100), (10, 10), (12, 8)])
def test_sizes_within_the_limits(width, height):
    check_size(width, height, ImageLimits(max_pixels=100, max_aspect_ratio=100))


@pytest.mark.parametrize(
    ("width", "height", "error"),
    [
        (0, 1, CorruptImageError),
        (1, -1, CorruptImageError),
        (101, 1, ImageLimitError),
        (10, 11, ImageLimitError),
        (2**62, 2**62, ImageLimitError),
    ],
)
def test_sizes_beyond_the_limits(width, height, error):
    with pytest.raises(error):
        check_size(width, height, ImageLimits(max_pixels=100))


def test_long_and_thin():
    limits = ImageLimits(max_aspect_ratio=3.5)
    check_size(7, 2, limits)
    with pytest.raises(ImageLimitError, match=r"8 x 2 pixels; .* 3.5 times"):
        check_size(8, 2, limits)


STARTS = [
    b"",
    b"\xff\xd8",
    b"\xff\xd8\xff\xc0\0\x11\x08\0\x10\0\x10\x03",
    images.PNG_SIGNATURE,
    images.PNG_SIGNATURE + images.png_header(4, 4),
    b"RIFF\x40\0\0\0WEBPVP8 ",
    b"RIFF\x40\0\0\0WEBPVP8X",
    b"RIFF\x40\0\0\0WEBPVP8L",
]


@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=300))
def test_random_bytes_are_read_or_refused(start, rest):
    try:
        header = read_header(start + rest, LIMITS)
    except ImageError:
        return
    assert 0 < header.width * header.height <= LIMITS.max_pixels
    assert header.orientation in range(1, 9)


@pytest.mark.parametrize("data", [images.animated_webp(), images.apng()], ids=["webp", "apng"])
def test_frames_are_counted_and_bounded(data):
    assert read_header(data, LIMITS).frames == 3
    with pytest.raises(ImageLimitError, match="has 3 frames; at most 2 are allowed"):
        read_header(data, ImageLimits(max_frames=2))


def test_frames_behind_exif_count_too():
    frames = images.webp_chunk(b"ANMF", b"") * 3
    data = images.animated_webp()
    behind = images.webp_chunk(b"EXIF", images.exif(1)) + frames
    assert read_header(images.webp_file(data[12:], behind), LIMITS).frames == 6
