"""Walk the chunks of a PNG and keep those that make the picture.

Source: PNG specification (third edition) sections 5 and 11. Imports only the errors.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from models.errors import CorruptImageError, ImageLimitError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 65_536  # walking them takes well under 0.1 s; encoders write 4 KB and more in each
_OVERHEAD_BYTES = 12  # length, kind and checksum
_PICTURE_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


@dataclass(frozen=True)
class Chunk:
    """One chunk.

    Attributes:
        kind: Its four letters.
        data: What it holds.
        encoded: All of it: length, kind, data and checksum.
    """

    kind: bytes
    data: memoryview
    encoded: memoryview

    @property
    def intact(self) -> bool:
        """Whether the checksum is right."""
        return zlib.crc32(self.encoded[4:-4]) == int.from_bytes(self.encoded[-4:], "big")

    @property
    def critical(self) -> bool:
        """Whether there is no picture without it: its first letter is upper-case."""
        return not self.kind[0] & 0x20


def chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks up to IEND; what follows it is not looked at.

    Raises:
        CorruptImageError: The file is cut short.
        ImageLimitError: There are more chunks than any encoder writes.
    """
    view = memoryview(data)
    position = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        length = int.from_bytes(view[position : position + 4], "big")
        end = position + _OVERHEAD_BYTES + length
        if end > len(view):
            raise CorruptImageError("is a PNG that is cut short")
        kind = bytes(view[position + 4 : position + 8])
        yield Chunk(kind, view[position + 8 : end - 4], view[position:end])
        if kind == b"IEND":
            return
        position = end
    raise ImageLimitError(f"is a PNG of more than {MAX_CHUNKS} chunks")


def picture_only(data: bytes) -> bytes:
    """The same PNG without what does not make its picture.

    A decoder may refuse an image over a damaged colour profile, a long text or a
    malformed animation. They are dropped here, so that it never sees them; of an
    animation the still image remains.
    """
    kept = (chunk.encoded for chunk in chunks(data) if chunk.kind in _PICTURE_CHUNKS)
    return b"".join((SIGNATURE, *kept))
