"""Images for the tests, hostile and odd ones included, all made here from code."""

import functools
import io
import struct
import zlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6


def photo(width: int = 48, height: int = 32, mode: str = "RGB") -> Image.Image:
    """A smooth picture without any symmetry, so that every turn of it looks different."""
    down, right = np.mgrid[0:height, 0:width]
    channels = (
        255 * right / width,
        255 * down / height,
        255 * (right + 2 * down) / (width + 2 * height),
        120 + 100 * np.sin(right / 5.0),
    )
    pixels = np.stack(channels, axis=2).astype(np.uint8)
    if mode == "CMYK":
        return Image.fromarray(pixels, mode="CMYK")
    return Image.fromarray(pixels, mode="RGBA").convert(mode)


def encode(image: Image.Image, image_format: str, **options: object) -> bytes:
    """What Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


# PNG


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, depth: int = 8, colour_type: int = COLOUR) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))


def png_data(rows: Iterable[bytes]) -> bytes:
    """An IDAT chunk of unfiltered rows."""
    compressor = zlib.compressobj()
    parts = [compressor.compress(b"\0" + row) for row in rows]
    return png_chunk(b"IDAT", b"".join([*parts, compressor.flush()]))


def png_file(*chunks: bytes) -> bytes:
    return b"".join((PNG_SIGNATURE, *chunks, png_chunk(b"IEND", b"")))


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and data of each chunk, whatever its checksum."""
    found, position = [], len(PNG_SIGNATURE)
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        found.append((data[position + 4 : position + 8], data[position + 8 :][:length]))
        position += length + 12
    return found


def png_resealed(data: bytes) -> bytes:
    """The same chunks with right checksums, so that damage reaches the decoder."""
    return PNG_SIGNATURE + b"".join(png_chunk(*chunk) for chunk in png_chunks(data))


def png_with(chunk: bytes, data: bytes) -> bytes:
    """``data`` with one more chunk behind its header."""
    end_of_header = len(PNG_SIGNATURE) + 25
    return data[:end_of_header] + chunk + data[end_of_header:]


@functools.cache
def one_bit_png(width: int, height: int) -> bytes:
    """A whole, valid, black PNG: a few kilobytes for hundreds of megapixels."""
    row = bytes((width + 7) // 8)
    return png_file(png_header(width, height, 1, GREY), png_data(row for _ in range(height)))


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of one pixel whose header says otherwise."""
    return png_file(png_header(width, height), png_data([b"\1\2\3"]))


def with_damaged_idat() -> bytes:
    data = bytearray(encode(photo(), "PNG"))
    data[data.index(b"IDAT") + 10] ^= 0x10
    return bytes(data)


def with_damaged_checksum(chunk: bytes) -> bytes:
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


def apng(frames: int = 3) -> bytes:
    images = [Image.new("RGB", (24, 16), (80 * i, 200, 10)) for i in range(frames)]
    return encode(images[0], "PNG", save_all=True, append_images=images[1:])


# JPEG


def jpeg_segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg_with(inserted: bytes, data: bytes) -> bytes:
    """``data`` with ``inserted`` right behind its SOI."""
    return data[:2] + inserted + data[2:]


def jpeg_claiming(width: int, height: int, *, progressive: bool = True) -> bytes:
    """A small JPEG whose frame header says otherwise."""
    data = encode(photo(), "JPEG", progressive=progressive)
    frame = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]


def jpeg_of_process(marker: int, bits_per_sample: int = 8) -> bytes:
    """A JPEG whose frame header names another process: lossless, arithmetic and such."""
    data = bytearray(encode(photo(), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 1], data[frame + 4] = marker, bits_per_sample
    return bytes(data)


def jpeg_last_scan(data: bytes) -> bytes:
    return data[data.rindex(b"\xff\xda") : -2]


def jpeg_of_scans(scans: int) -> bytes:
    """A progressive JPEG that repeats its last scan."""
    data = encode(photo(), "JPEG", progressive=True)
    written = data.count(b"\xff\xda")
    return data[:-2] + jpeg_last_scan(data) * (scans - written) + data[-2:]


def jpeg_hiding_scans(scans: int) -> bytes:
    """Scans in what looks like a segment of a reserved marker.

    A decoder that looks for its restart marker skips the marker, not the segment.
    """
    data = encode(photo(), "JPEG", progressive=True, restart_marker_blocks=1)
    hidden = jpeg_last_scan(data) * scans
    return data[:-2] + jpeg_segment(0x02, hidden) + data[-2:]


# WebP


def webp_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def webp_file(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_claiming(width: int, height: int) -> bytes:
    """A WebP whose canvas is not the size of its picture."""
    still = encode(photo(), "WEBP", lossless=True)[12:]
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return webp_file(webp_chunk(b"VP8X", bytes(4) + size), still)


def animated_webp() -> bytes:
    images = [Image.new("RGB", (24, 16), (80 * i, 200, 10)) for i in range(3)]
    return encode(images[0], "WEBP", save_all=True, append_images=images[1:], lossless=True)


# EXIF


def exif(orientation: int, *, order: str = ">", kind: int = 3, prefix: bytes = b"") -> bytes:
    """A block with an orientation: big-endian (``>``) or little-endian, SHORT (3) or LONG (4)."""
    signature = b"MM\0*" if order == ">" else b"II*\0"
    value = struct.pack(order + ("HH" if kind == 3 else "I"), *[orientation, 0][: 5 - kind])
    entry = struct.pack(order + "HHI", 0x0112, kind, 1) + value
    return prefix + signature + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


def jpeg_exif(block: bytes) -> bytes:
    return jpeg_segment(0xE1, b"Exif\0\0" + block)


# What is no image that is accepted


def fits() -> bytes:
    cards = ("SIMPLE  =                    T", "BITPIX  =                    8", "END")
    return "".join(card.ljust(80) for card in cards).ljust(2880).encode()


def noise(size: int) -> bytes:
    return np.random.default_rng(7).bytes(size)


HTML = b"<!doctype html><title>Not found</title>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect/></svg>'
