"""Walk the segments of a JPEG and keep those that make the picture.

Source: ITU-T T.81 annex B. Imports only the errors.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from models.errors import CorruptImageError, ImageLimitError

SIGNATURE = b"\xff\xd8"
EOI, SOS, APP1 = 0xD9, 0xDA, 0xE1
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
MAX_SEGMENTS = 65_536  # walking them takes well under 0.1 s; cameras write a few hundred

# A marker: 0xFF, then anything but a stuffed zero, a restart marker or another 0xFF,
# which only fills (T.81 B.1.1.2). The fill is not matched: a run of it would be
# scanned again from each of its bytes.
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_SOI, _TEM = 0xD8, 0x01
_RESERVED = range(0x02, 0xC0)
_STANDALONE = (EOI, _TEM)
_DHT, _DQT, _DRI = 0xC4, 0xDB, 0xDD
_JFIF, _ADOBE = 0xE0, 0xEE  # say which colours the components are
_PICTURE = FRAMES | {_DHT, _DQT, _DRI, _JFIF, _ADOBE}


@dataclass(frozen=True)
class Segment:
    """One segment.

    Attributes:
        marker: The byte behind 0xFF.
        data: What it holds, without its length.
        start: Where its 0xFF lies in the file.
        end: Where it ends.
    """

    marker: int
    data: bytes
    start: int
    end: int


def segments(data: bytes) -> Iterator[Segment]:
    """Every segment up to the end of the image.

    It must see what a decoder sees, or scans could hide where only the decoder looks.

    Raises:
        CorruptImageError: The file is damaged or cut short.
        ImageLimitError: There are more segments than any encoder writes.
    """
    position, scanned = len(SIGNATURE), False
    for _ in range(MAX_SEGMENTS):
        match = _MARKER.search(data, position)
        if match is None:
            raise CorruptImageError("is a JPEG that is cut short")
        marker = match[1][0]
        # Between segments only fill may come; after a scan's header comes its data.
        stray = not scanned and data[position : match.start()].strip(b"\xff")
        if stray or marker in _RESERVED or marker == _SOI:
            raise CorruptImageError("is a JPEG with a damaged header")
        position = match.end()
        if marker not in _STANDALONE:
            length = int.from_bytes(data[position : position + 2], "big")
            end = position + length
            if length < 2 or end > len(data):  # noqa: PLR2004 - it counts itself
                raise CorruptImageError("is a JPEG that is cut short")
            yield Segment(marker, data[position + 2 : end], match.start(), end)
            position = end
        if marker == EOI:
            return
        scanned = scanned or marker == SOS
    raise ImageLimitError(f"is a JPEG of more than {MAX_SEGMENTS} segments")


def picture_only(data: bytes) -> bytes:
    """The same picture without what a decoder might trip over: EXIF, profiles, fill, comments.

    From the first scan on nothing is changed.

    Raises:
        CorruptImageError: The file is damaged or cut short.
    """
    view = memoryview(data)
    kept: list[bytes | memoryview] = [SIGNATURE]
    for segment in segments(data):
        if segment.marker == SOS:
            kept.append(view[segment.start :])
            break
        if segment.marker in _PICTURE:
            kept.append(view[segment.start : segment.end])
    return b"".join(kept)
