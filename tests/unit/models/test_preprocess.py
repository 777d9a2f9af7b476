"""Pixels against references, and damage: decode, decode_raw and resize."""

import dataclasses
import io
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

from models import preprocess as preprocess_module
from models.errors import CorruptImageError, ImageError, ImageLimitError
from models.image_header import ImageLimits, read_header
from models.manifest import InputSpec
from models.preprocess import decode, decode_raw, preprocess, resize
from tests.unit.models import images

LIMITS = ImageLimits()
JPEG_TOLERANCE = 2  # two builds of libjpeg-turbo may round differently


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pixels(data):
    """What we decode, as [h, w, 3]."""
    image = decode(data, LIMITS)
    assert image.dtype == torch.uint8
    return image.permute(1, 2, 0).numpy()


def reference(data):
    """What Pillow decodes: upright, on white, RGB."""
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright.convert("RGBA"))
    return np.asarray(upright.convert("RGB"))


def assert_same(data, expected, tolerance=0):
    found = pixels(data)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= tolerance


def jpeg(mode="RGB", **options):
    return images.encode(images.photo(mode=mode), "JPEG", **{"quality": 90, **options})


def adobe_marker(transform):
    return images.jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def cmyk_jpeg(*, transform):
    """Pillow inverts CMYK and says so in an Adobe marker, as Photoshop does."""
    data = jpeg("CMYK")
    marker = adobe_marker(0)
    assert marker in data
    return data.replace(marker, b"" if transform is None else adobe_marker(transform))


def with_zip_tail(data):
    tail = io.BytesIO()
    with zipfile.ZipFile(tail, "w") as archive:
        archive.writestr("readme.txt", "not a picture")
    return data + tail.getvalue()


def with_fill_bytes(data):
    """0xFF before markers is allowed to repeat."""
    for marker in (b"\xff\xdb", b"\xff\xda"):
        data = data.replace(marker, b"\xff" * 9 + marker, 1)
    return data


JPEGS = {
    "4:4:4": lambda: jpeg(subsampling="4:4:4"),
    "4:2:2": lambda: jpeg(subsampling="4:2:2"),
    "4:2:0": lambda: jpeg(subsampling="4:2:0"),
    "progressive": lambda: jpeg(progressive=True),
    "optimised": lambda: jpeg(optimize=True),
    "kept as rgb": lambda: jpeg(keep_rgb=True),
    "grey": lambda: jpeg("L"),
    "grey progressive": lambda: jpeg("L", progressive=True),
    "cmyk adobe-inverted": lambda: cmyk_jpeg(transform=0),
    "cmyk as ycck": lambda: cmyk_jpeg(transform=2),
    "cmyk without adobe": lambda: cmyk_jpeg(transform=None),
    "restart markers": lambda: jpeg(restart_marker_blocks=1),
    "progressive with restart markers": lambda: jpeg(progressive=True, restart_marker_rows=1),
    "fill bytes": lambda: with_fill_bytes(jpeg()),
    "zip tail": lambda: with_zip_tail(jpeg()),
    "jpeg tail": lambda: jpeg() + jpeg("L"),
    "1 x 1": lambda: images.encode(Image.new("RGB", (1, 1), (9, 99, 199)), "JPEG"),
    "1 x 17": lambda: images.encode(images.photo(1, 17), "JPEG"),
    "comment": lambda: jpeg(comment=b"\xff\xd9 not the end"),
    "exif thumbnail": lambda: images.jpeg_with(
        images.jpeg_exif(images.exif(1) + images.encode(images.photo(16, 8), "JPEG")), jpeg()
    ),
}


@pytest.mark.parametrize("make", JPEGS.values(), ids=JPEGS.keys())
def test_jpegs(make):
    data = make()
    assert_same(data, reference(data), JPEG_TOLERANCE)


def test_a_jpeg_looks_like_what_was_encoded():
    assert_same(jpeg(quality=100, subsampling="4:4:4"), np.asarray(images.photo()), tolerance=3)


def transparent(mode):
    image = images.photo(mode="RGBA")
    alpha = np.tile(np.linspace(0, 255, image.width).astype(np.uint8), (image.height, 1))
    image.putalpha(Image.fromarray(alpha))
    return image.convert(mode)


def palette(*, transparency=None):
    image = images.photo().quantize(16)
    options = {} if transparency is None else {"transparency": transparency}
    return images.encode(image, "PNG", **options)


OTHERS = {
    "png rgb": lambda: images.encode(images.photo(), "PNG"),
    "png grey": lambda: images.encode(images.photo(mode="L"), "PNG"),
    "png black and white": lambda: images.encode(images.photo(mode="1"), "PNG"),
    "png rgba": lambda: images.encode(transparent("RGBA"), "PNG"),
    "png grey and alpha": lambda: images.encode(transparent("LA"), "PNG"),
    "png rgb with one transparent colour": lambda: images.encode(
        images.photo(), "PNG", transparency=images.photo().getpixel((5, 5))
    ),
    "png palette": palette,
    "png palette with one transparent entry": lambda: palette(transparency=3),
    "png palette with alpha": lambda: palette(transparency=bytes(range(0, 256, 16))),
    "png palette of 2 bits": lambda: images.encode(images.photo().quantize(4), "PNG", bits=2),
    "png 1 x 1": lambda: images.encode(Image.new("RGB", (1, 1), (9, 99, 199)), "PNG"),
    "png zip tail": lambda: with_zip_tail(images.encode(images.photo(), "PNG")),
    "webp lossy": lambda: images.encode(images.photo(), "WEBP"),
    "webp lossless": lambda: images.encode(images.photo(), "WEBP", lossless=True),
    "webp lossy with alpha": lambda: images.encode(transparent("RGBA"), "WEBP"),
    "webp lossless with alpha": lambda: images.encode(transparent("RGBA"), "WEBP", lossless=True),
    "webp 1 x 1": lambda: images.encode(Image.new("RGB", (1, 1), (9, 99, 199)), "WEBP"),
    "webp zip tail": lambda: with_zip_tail(images.encode(images.photo(), "WEBP")),
    "webp animated": images.animated_webp,
    "apng": images.apng,
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS.keys())
def test_pngs_and_webps(make):
    data = make()
    assert_same(data, reference(data))


@pytest.mark.parametrize("make", [images.apng, images.animated_webp])
def test_the_first_frame_of_an_animation(make):
    assert_same(make(), np.full((16, 24, 3), (0, 200, 10)))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(image_format, orientation):
    exif = b"Exif\0\0" + images.exif(orientation)
    data = images.encode(images.photo(), image_format, exif=exif)
    tolerance = JPEG_TOLERANCE if image_format == "JPEG" else 0
    assert_same(data, reference(data), tolerance)


def test_orientation_6_is_a_quarter_turn_clockwise():
    image = Image.new("RGB", (2, 1), (255, 0, 0))
    image.putpixel((1, 0), (0, 0, 255))
    data = images.encode(image, "PNG", exif=images.exif(6))
    assert pixels(data).tolist() == [[[255, 0, 0]], [[0, 0, 255]]]


def test_orientation_of_a_cmyk_jpeg():
    data = jpeg("CMYK", exif=b"Exif\0\0" + images.exif(6))
    assert_same(data, reference(data), JPEG_TOLERANCE)


def test_orientation_behind_xmp():
    xmp = images.jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>")
    turned = images.jpeg_with(images.jpeg_exif(images.exif(6)), jpeg())
    assert np.array_equal(pixels(images.jpeg_with(xmp, turned)), pixels(turned))


DAMAGED_EXIF = {
    "noise": images.noise(64),
    "cut": images.exif(6)[:12],
    "directory outside": images.exif(6)[:4] + b"\xff\xff\xff\xff",
}


@pytest.mark.parametrize("block", DAMAGED_EXIF.values(), ids=DAMAGED_EXIF.keys())
@pytest.mark.parametrize(
    ("image_format", "mode"), [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("WEBP", "RGB")]
)
def test_damaged_exif_counts_as_none(image_format, mode, block):
    plain = images.encode(images.photo(mode=mode), image_format)
    damaged = images.encode(images.photo(mode=mode), image_format, exif=b"Exif\0\0" + block)
    assert damaged != plain
    assert np.array_equal(pixels(damaged), pixels(plain))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_colour_profile_does_no_harm(image_format):
    plain = images.encode(images.photo(), image_format)
    damaged = images.encode(images.photo(), image_format, icc_profile=images.noise(300))
    assert damaged != plain
    assert np.array_equal(pixels(damaged), pixels(plain))


HARMLESS_CHUNKS = {
    "profile that does not inflate": images.png_chunk(b"iCCP", b"sRGB\0\0" + images.noise(40)),
    "empty profile": images.png_chunk(b"iCCP", b""),
    "profile with a wrong checksum": images.with_damaged_checksum(
        images.png_chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(b"profile"))
    ),
    "text of 100 MB": images.png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10**8))),
    "animation without content": images.png_chunk(b"acTL", b""),
    "frame outside the image": images.png_chunk(b"acTL", struct.pack(">II", 2, 0))
    + images.png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 99, 99, 99, 99, 0, 0, 0, 0)),
    "unknown": images.png_chunk(b"abCd", images.noise(40)),
}


@pytest.mark.parametrize("chunk", HARMLESS_CHUNKS.values(), ids=HARMLESS_CHUNKS.keys())
def test_png_chunks_beside_the_picture_do_no_harm(chunk):
    plain = images.encode(images.photo(), "PNG")
    assert np.array_equal(pixels(images.png_with(chunk, plain)), np.asarray(images.photo()))


def png_of(row, depth, colour_type, transparent_colour=None):
    """One row of samples; Pillow does not write all of these."""
    channels = {images.GREY: 1, images.COLOUR: 3, images.GREY_ALPHA: 2, images.COLOUR_ALPHA: 4}
    width = len(row) // channels[colour_type]
    bits = "".join(f"{sample:0{depth}b}" for sample in row)
    packed = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    chunks = [images.png_header(width, 1, depth, colour_type), images.png_data([packed])]
    if transparent_colour is not None:
        layout = f">{len(transparent_colour)}H"
        chunks.insert(1, images.png_chunk(b"tRNS", struct.pack(layout, *transparent_colour)))
    return images.png_file(*chunks)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_grey_png_of_each_depth(depth):
    row = range(2**depth)[:: 3 if depth == 8 else 1]
    greys = [sample * 255 // (2**depth - 1) for sample in row]
    assert pixels(png_of(row, depth, images.GREY))[0, :, 0].tolist() == greys


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_grey_png_with_one_transparent_sample(depth):
    row = range(2**depth)[:: 3 if depth == 8 else 1]
    greys = [sample * 255 // (2**depth - 1) for sample in row]
    for index in {0, 1, len(row) - 1}:
        data = png_of(row, depth, images.GREY, transparent_colour=[row[index]])
        expected = [*greys[:index], 255, *greys[index + 1 :]]
        assert pixels(data)[0, :, 0].tolist() == expected


def test_16_bit_png_keeps_the_high_byte():
    row = [0x0000, 0x00FF, 0x0100, 0x12FF, 0xFFFF, 0x8000]
    high = [sample >> 8 for sample in row]
    assert pixels(png_of(row, 16, images.GREY))[0].tolist() == [[byte] * 3 for byte in high]
    assert pixels(png_of(row, 16, images.COLOUR))[0].tolist() == [high[:3], high[3:]]


def test_16_bit_png_with_one_transparent_sample():
    data = png_of([0x1234, 0x1235, 0x0000], 16, images.GREY, transparent_colour=[0x1234])
    assert pixels(data)[0, :, 0].tolist() == [255, 0x12, 0]


def test_16_bit_png_with_alpha():
    clear, solid = 0x0000, 0xFFFF
    grey = png_of([0x1200, solid, 0x1200, clear], 16, images.GREY_ALPHA)
    assert pixels(grey)[0].tolist() == [[0x12] * 3, [255] * 3]
    colour = png_of([1 << 8, 2 << 8, 3 << 8, solid, 9, 9, 9, clear], 16, images.COLOUR_ALPHA)
    assert pixels(colour)[0].tolist() == [[1, 2, 3], [255] * 3]


def test_transparency_is_composited_on_white():
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 51))
    assert pixels(images.encode(image, "PNG"))[0].tolist() == [[255] * 3, [204] * 3]


BROKEN = {
    "png whose data does not inflate": lambda: images.png_file(
        images.png_header(4, 4), images.png_chunk(b"IDAT", images.noise(60))
    ),
    "png without data": lambda: images.png_file(images.png_header(4, 4)),
    "png without the end of its data": lambda: images.png_file(
        images.png_header(4, 4), images.png_chunk(b"IDAT", zlib.compress(images.noise(52))[:40])
    ),
    "png of an impossible depth": lambda: images.png_file(
        images.png_header(1, 1, depth=5), images.png_data([b"\1\2\3"])
    ),
    "png palette without palette": lambda: images.png_file(
        images.png_header(4, 1, 8, images.PALETTE), images.png_chunk(b"tRNS", b"")
    ),
    "webp of two sizes": lambda: images.webp_claiming(20, 20),
    "webp of noise": lambda: images.encode(images.photo(), "WEBP")[:40] + images.noise(2000),
    "jpeg without tables": lambda: jpeg().replace(b"\xff\xdb", b"\xff\xfe"),
    "jpeg of two frames": lambda: images.jpeg_with(
        images.jpeg_segment(0xC0, struct.pack(">BHHB", 8, 4, 4, 1) + b"\1\x11\0"), jpeg()
    ),
    "jpeg of two starts": lambda: images.jpeg_with(b"\xff\xd8", jpeg()),
    "jpeg of five components": lambda: images.jpeg_with(
        images.jpeg_segment(0xC0, struct.pack(">BHHB", 8, 4, 4, 5) + b"\1\x11\0" * 5),
        images.jpeg_with(images.jpeg_last_scan(jpeg()), b"\xff\xd8\xff\xd9"),
    ),
}


@pytest.mark.parametrize("short_side", [None, 1])
@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN.keys())
def test_what_the_decoder_refuses_is_corrupt(make, short_side):
    with pytest.raises(CorruptImageError):
        decode(make(), LIMITS, short_side)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_a_size_that_was_not_checked_is_not_decoded(monkeypatch, image_format):
    mode = "RGB" if image_format == "JPEG" else "RGBA"
    data = images.encode(images.photo(mode=mode), image_format)
    header = dataclasses.replace(read_header(data, LIMITS), width=47)
    monkeypatch.setattr(ImageFile, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(CorruptImageError, match="two sizes"):
        preprocess_module._decode(data, header, 2)


def test_the_limits_are_the_callers():
    data = images.encode(images.photo(), "PNG")
    decode(data, ImageLimits(max_pixels=48 * 32))
    with pytest.raises(ImageLimitError):
        decode(data, ImageLimits(max_pixels=48 * 32 - 1))


def test_decoding_touches_no_warning_filter():
    before = list(warnings.filters)
    decode(palette(transparency=3), LIMITS)
    assert warnings.filters == before


def test_decode_raw():
    data = bytes(range(24))
    image = decode_raw(data, 2, 4, LIMITS)
    assert image.shape == (3, 2, 4)
    assert image[:, 1, 2].tolist() == [18, 19, 20]


def test_decode_raw_does_not_alias_its_input():
    data = bytes(12)
    decode_raw(data, 2, 2, LIMITS).fill_(255)
    assert data == bytes(12)


@pytest.mark.parametrize(
    ("length", "height", "width", "error"),
    [
        (11, 2, 2, CorruptImageError),
        (13, 2, 2, CorruptImageError),
        (0, 2, 2, CorruptImageError),
        (0, 0, 2, CorruptImageError),
        (0, 2, 0, CorruptImageError),
        (12, -2, -2, CorruptImageError),
        (3, 1, -1, CorruptImageError),
        (12, 2**31, 2**31, ImageLimitError),
        (0, 2**32, 2**32, ImageLimitError),  # the product is 0 in 64 bits
        (12, 2**62 + 1, 4, ImageLimitError),  # the product is 4 in 64 bits
        (303, 101, 1, ImageLimitError),
    ],
)
def test_decode_raw_refuses(length, height, width, error):
    with pytest.raises(error):
        decode_raw(bytes(length), height, width, LIMITS)


def spec(side=16, crop_fraction=1.0):
    return InputSpec(
        height=side, width=side, crop_fraction=crop_fraction, mean=(0, 0, 0), std=(1, 1, 1)
    )


def tensor(width, height):
    return torch.from_numpy(np.asarray(images.photo(width, height)).copy()).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("width", "height"), [(64, 64), (64, 48), (48, 64), (65, 49), (33, 17), (16, 40), (200, 31)]
)
@pytest.mark.parametrize("crop_fraction", [1.0, 0.875, 0.5])
def test_resize_is_a_centre_crop_scaled(width, height, crop_fraction):
    side = round(min(width, height) * crop_fraction)
    left, top = (width - side) // 2, (height - side) // 2
    expected = (
        images.photo(width, height)
        .crop((left, top, left + side, top + side))
        .resize((16, 16), Image.Resampling.BILINEAR)
    )
    found = resize(tensor(width, height), spec(crop_fraction=crop_fraction))
    assert found.shape == (3, 16, 16)
    assert found.dtype == torch.uint8
    assert found.is_contiguous()
    difference = found.permute(1, 2, 0).numpy().astype(int) - np.asarray(expected).astype(int)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 7), (3, 2), (15, 15), (1, 100)])
def test_resize_scales_small_images_up(width, height):
    found = resize(torch.full((3, height, width), 77, dtype=torch.uint8), spec(side=32))
    assert torch.equal(found, torch.full((3, 32, 32), 77, dtype=torch.uint8))


@pytest.mark.parametrize("crop_fraction", [1.0, 0.875])
def test_resize_leaves_an_image_of_the_right_size(crop_fraction):
    image = tensor(16, 16)
    found = resize(image, spec(crop_fraction=crop_fraction))
    assert torch.equal(found, image)
    assert found.is_contiguous()


@pytest.mark.parametrize(("width", "height"), [(5, 400), (400, 5), (100, 99)])
def test_resize_never_handles_more_than_the_image(monkeypatch, width, height):
    interpolate = torch.nn.functional.interpolate
    handled = []

    def recorded(image, **options):
        handled.append(image.shape[-2:])
        return interpolate(image, **options)

    monkeypatch.setattr(torch.nn.functional, "interpolate", recorded)
    resize(tensor(width, height), spec())
    assert handled == [(min(width, height),) * 2]


def test_resize_does_not_depend_on_the_memory_layout():
    image = tensor(60, 50)
    assert torch.equal(resize(image, spec()), resize(image.contiguous(), spec()))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_preprocess_is_decode_then_resize(image_format, orientation):
    exif = b"Exif\0\0" + images.exif(orientation)
    data = images.encode(images.photo(49, 34), image_format, exif=exif)  # an odd pixel beside
    found = preprocess(data, spec(side=20), LIMITS)
    expected = resize(decode(data, LIMITS), spec(side=20))
    assert found.is_contiguous()
    assert (found.int() - expected.int()).abs().max() <= 1  # it turns after rounding


SHORT_SIDE = 4  # of 32: decoded at a quarter, where there is a choice


def quarter(data):
    """Means of 4 x 4 pixels of the whole, upright image, [h, w, 3]."""
    whole = reference(data).astype(float)
    height, width, _ = whole.shape
    return whole.reshape(height // 4, 4, width // 4, 4, 3).mean(axis=(1, 3))


def assert_is_a_quarter(data, tolerance):
    found = decode(data, LIMITS, SHORT_SIDE)
    assert found.dtype == torch.uint8
    expected = quarter(data)
    assert found.shape == (3, *expected.shape[:2])
    difference = np.abs(found.permute(1, 2, 0).numpy() - expected)
    assert difference.max() <= tolerance
    assert difference.mean() <= tolerance / 2


SCALED_JPEGS = {name: make for name, make in JPEGS.items() if name not in ("1 x 1", "1 x 17")}


@pytest.mark.parametrize("make", SCALED_JPEGS.values(), ids=SCALED_JPEGS.keys())
def test_a_large_jpeg_is_decoded_at_a_quarter(make):
    assert_is_a_quarter(make(), tolerance=8)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_scaled_image(image_format, orientation):
    exif = b"Exif\0\0" + images.exif(orientation)
    assert_is_a_quarter(images.encode(images.photo(), image_format, exif=exif), tolerance=8)


@pytest.mark.parametrize(
    "name", ["png rgb", "png grey and alpha", "png palette with alpha", "webp lossless with alpha"]
)
def test_other_images_are_scaled_after_compositing(name):
    assert_is_a_quarter(OTHERS[name](), tolerance=1)


@pytest.mark.parametrize(
    ("short_side", "size"),
    [(17, (48, 32)), (16, (48, 32)), (9, (48, 32)), (8, (24, 16)), (5, (24, 16)), (4, (12, 8)),
     (3, (12, 8)), (2, (6, 4)), (1, (6, 4)), (None, (48, 32))],
)  # fmt: skip
@pytest.mark.parametrize("turned", [False, True])
def test_twice_the_short_side_is_kept(short_side, size, turned):
    exif = b"Exif\0\0" + images.exif(6 if turned else 1)
    _, height, width = decode(jpeg(exif=exif), LIMITS, short_side).shape
    assert (width, height) == (size[::-1] if turned else size)


def test_scaled_sides_are_rounded_up():
    data = images.encode(images.photo(49, 33), "JPEG")
    assert decode(data, LIMITS, SHORT_SIDE).shape == (3, 9, 13)


@pytest.mark.parametrize("crop_fraction", [1.0, 0.875])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_scaling_while_decoding_changes_an_input_by_no_more_than_resampling(
    image_format, crop_fraction
):
    data = images.encode(images.photo(651, 483), image_format)  # sides that 8 does not divide
    small = spec(side=24, crop_fraction=crop_fraction)
    found = preprocess(data, small, LIMITS).int()
    difference = (found - resize(decode(data, LIMITS), small).int()).abs().float()
    assert difference.max() <= 6
    assert difference.mean() <= 1


def test_what_is_in_a_jpeg_beside_the_picture_does_no_harm_when_scaled():
    plain = jpeg()
    beside = [
        images.jpeg_exif(images.noise(300)),
        images.jpeg_segment(0xE2, b"ICC_PROFILE\0\1\1" + images.noise(300)),
        images.jpeg_segment(0xE2, b"MPF\0" + images.noise(300)),
        images.jpeg_segment(0xED, b"Photoshop 3.0\08BIM" + images.noise(300)),
        images.jpeg_segment(0xFE, b"\xff\xd9 not the end"),
    ]
    found = decode(images.jpeg_with(b"".join(beside), plain), LIMITS, SHORT_SIDE)
    assert torch.equal(found, decode(plain, LIMITS, SHORT_SIDE))


SEEDS = {
    "jpeg": lambda: jpeg(exif=b"Exif\0\0" + images.exif(6)),
    "progressive jpeg": lambda: jpeg(progressive=True, restart_marker_blocks=2),
    "cmyk jpeg": lambda: jpeg("CMYK"),
    "png": lambda: images.encode(images.photo(), "PNG", exif=images.exif(6)),
    "palette png": lambda: palette(transparency=bytes(range(0, 256, 16))),
    "apng": images.apng,
    "webp": lambda: images.encode(images.photo(), "WEBP"),
    "transparent webp": lambda: images.encode(transparent("RGBA"), "WEBP"),
    "lossless webp": lambda: images.encode(images.photo(), "WEBP", lossless=True),
    "animated webp": images.animated_webp,
}
SMALL = ImageLimits(max_pixels=1_000_000)


@st.composite
def damaged(draw, data):
    """``data`` with bytes changed, put in or taken out, perhaps cut short."""
    broken = bytearray(data)
    places = st.one_of(
        st.integers(0, min(len(data), 120) - 1), st.integers(0, len(data) - 1)
    )  # headers are where it hurts
    for _ in range(draw(st.integers(1, 4))):
        place = draw(places)
        length = draw(st.sampled_from([1, 1, 1, 0, 2, 8]))
        broken[place : place + length] = draw(st.binary(max_size=2 if length else 8))
    if draw(st.integers(0, 4)) == 0:
        del broken[draw(places) :]
    return bytes(broken)


def decode_or_refuse(data, short_side):
    try:
        image = decode(data, SMALL, short_side)
    except ImageError:
        return
    assert image.dtype == torch.uint8
    assert image.shape[0] == 3
    assert 0 < image.shape[1] * image.shape[2] <= SMALL.max_pixels


@pytest.mark.parametrize("short_side", [None, SHORT_SIDE])
@pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS.keys())
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(draw=st.data())
def test_damaged_images_decode_or_are_refused(seed, short_side, draw):
    data = draw.draw(damaged(seed()))
    decode_or_refuse(data, short_side)
    if data.startswith(images.PNG_SIGNATURE):
        decode_or_refuse(images.png_resealed(data), short_side)
