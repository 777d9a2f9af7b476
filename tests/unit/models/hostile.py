"""Images that must be refused before a decoder sees them, by name and by why."""

from tests.unit.models import images


def cut(data, share):
    return data[: int(len(data) * share)]


def jpeg():
    return images.encode(images.photo(), "JPEG", quality=90)


def jpeg_frame(data):
    """What a baseline JPEG's frame header holds."""
    start = data.index(b"\xff\xc0")
    return data[start + 4 : start + 19]


def progressive():
    return images.encode(images.photo(), "JPEG", progressive=True)


def png():
    return images.encode(images.photo(), "PNG")


def webp():
    return images.encode(images.photo(), "WEBP")


def other(image_format):
    return lambda: images.encode(images.photo(), image_format)


UNSUPPORTED = {
    "empty": lambda: b"",
    "one byte": lambda: b"\xff",
    "text": lambda: b"this is not a picture",
    "noise": lambda: images.noise(20_000),
    "html then jpeg": lambda: images.HTML + jpeg(),
    "svg": lambda: images.SVG,
    "pdf": other("PDF"),
    "bmp": other("BMP"),
    "tiff": other("TIFF"),
    "gif": other("GIF"),
    "ico": other("ICO"),
    "eps": other("EPS"),
    "ppm": other("PPM"),
    "avif": lambda: b"\0\0\0\x1cftypavif\0\0\0\0mif1avifmiaf" + bytes(100),
    "heic": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
    "jpeg 2000": lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
    "jpeg 2000 codestream": lambda: b"\xff\x4f\xff\x51" + bytes(100),
    "jpeg xl": lambda: b"\xff\x0a" + bytes(100),
    "fits": images.fits,
    "riff that is sound": lambda: b"RIFF\x24\0\0\0WAVEfmt " + bytes(100),
    "lossless jpeg": lambda: images.jpeg_of_process(0xC3),
    "arithmetic jpeg": lambda: images.jpeg_of_process(0xC9),
    "12-bit jpeg": lambda: images.jpeg_of_process(0xC1, bits_per_sample=12),
}
LIMIT = {
    "progressive 20000 square": lambda: images.jpeg_claiming(20_000, 20_000),
    "baseline 60000 square": lambda: images.jpeg_claiming(60_000, 60_000, progressive=False),
    "jpeg strip": lambda: images.jpeg_claiming(1, 60_000),
    "jpeg of 1000 scans": lambda: images.jpeg_of_scans(1000),
    "jpeg of 51 scans": lambda: images.jpeg_of_scans(51),
    "jpeg of empty segments": lambda: images.jpeg_with(b"\xff\xe3\0\2" * 70_000, jpeg()),
    "jpeg of markers alone": lambda: b"\xff\xd8" + b"\xff\x01" * 70_000,
    "one-bit png 20000 square": lambda: images.one_bit_png(20_000, 20_000),
    "png of 169 megapixels": lambda: images.one_bit_png(13_000, 13_000),
    "png 60000 square": lambda: images.png_claiming(60_000, 60_000),
    "png of 2^31-1": lambda: images.png_claiming(2**31 - 1, 2**31 - 1),
    "png strip": lambda: images.one_bit_png(1, 60_000),
    "png strip lying": lambda: images.one_bit_png(60_000, 1),
    "png of empty chunks": lambda: images.png_with(images.png_chunk(b"teXt", b"") * 70_000, png()),
    "webp canvas": lambda: images.webp_claiming(16_384, 16_384),
    "webp of empty chunks": lambda: images.webp_file(
        webp()[12:], images.webp_chunk(b"XXXX", b"") * 70_000
    ),
}
CORRUPT = {
    "soi only": lambda: b"\xff\xd8",
    "soi and a byte": lambda: b"\xff\xd8\xff",
    "soi and eoi": lambda: b"\xff\xd8\xff\xd9",
    "jpeg without scans": lambda: jpeg()[: jpeg().index(b"\xff\xda")] + b"\xff\xd9",
    "jpeg without frame": lambda: b"\xff\xd8" + images.jpeg_last_scan(jpeg()) + b"\xff\xd9",
    "jpeg of start markers": lambda: b"\xff\xd8" * 70_000,
    "jpeg of two starts": lambda: images.jpeg_with(b"\xff\xd8", jpeg()),
    "jpeg of two frames": lambda: images.jpeg_with(
        images.jpeg_segment(0xC0, jpeg_frame(jpeg())), jpeg()
    ),
    "jpeg with a frame behind its scan": lambda: (
        jpeg()[:-2] + images.jpeg_segment(0xC0, jpeg_frame(jpeg())) + jpeg()[-2:]
    ),
    "jpeg of no height": lambda: images.jpeg_claiming(48, 0),
    "jpeg of no width": lambda: images.jpeg_claiming(0, 48),
    "jpeg with a short frame": lambda: images.jpeg_with(
        images.jpeg_segment(0xC0, b"\x08\0\x10"), jpeg()
    ),
    "jpeg with a segment of length 1": lambda: images.jpeg_with(b"\xff\xe3\0\1", jpeg()),
    "jpeg with a segment beyond its end": lambda: images.jpeg_with(b"\xff\xe3\xff\xff", jpeg()),
    "jpeg with stray bytes": lambda: images.jpeg_with(b"stray", jpeg()),
    "jpeg with stray bytes behind a segment": lambda: images.jpeg_with(
        images.jpeg_segment(0xE3, b"") + b"stray", jpeg()
    ),
    "jpeg hiding scans": lambda: images.jpeg_hiding_scans(60),
    "jpeg cut at 10%": lambda: cut(jpeg(), 0.1),
    "jpeg cut at 50%": lambda: cut(jpeg(), 0.5),
    "jpeg cut at 90%": lambda: cut(jpeg(), 0.9),
    "jpeg without its last 2 bytes": lambda: jpeg()[:-2],
    "progressive cut at 50%": lambda: cut(progressive(), 0.5),
    "jpeg with a thumbnail cut at 90%": lambda: cut(
        images.jpeg_with(images.jpeg_exif(images.exif(1) + jpeg()), jpeg()), 0.9
    ),
    "jpeg of nothing but fill": lambda: b"\xff\xd8" + b"\xff" * 4_000_000 + b"\0",
    "png signature": lambda: images.PNG_SIGNATURE,
    "png cut at 10%": lambda: cut(png(), 0.1),
    "png cut at 50%": lambda: cut(png(), 0.5),
    "png cut at 90%": lambda: cut(png(), 0.9),
    "png without its last byte": lambda: png()[:-1],
    "png with damaged idat": images.with_damaged_idat,
    "png with damaged header": lambda: images.png_file(
        images.with_damaged_checksum(images.png_header(1, 1)), images.png_data([b"\1\2\3"])
    ),
    "png with a short header": lambda: images.png_file(images.png_chunk(b"IHDR", bytes(9))),
    "png that starts with data": lambda: images.png_file(images.png_data([b"\1\2\3"])),
    "png of two headers": lambda: images.png_with(
        images.png_header(13_000, 13_000, 1, images.GREY), images.one_bit_png(16, 16)
    ),
    "png of no width": lambda: images.png_claiming(0, 5),
    "png of no height": lambda: images.png_claiming(5, 0),
    "webp signature": lambda: b"RIFF\x04\0\0\0WEBP",
    "webp cut at 10%": lambda: cut(webp(), 0.1),
    "webp cut at 50%": lambda: cut(webp(), 0.5),
    "webp without its last 2 bytes": lambda: webp()[:-2],
    "webp of an unknown kind": lambda: images.webp_file(images.webp_chunk(b"VP9 ", bytes(40))),
    "webp without its key frame": lambda: webp().replace(b"\x9d\x01\x2a", b"\0\0\0", 1),
}
