"""The orientation in an EXIF block, and nothing else of it.

One reader for all formats: decoders differ in which block they find, in what
damage they survive, and in whether they look at all. Source: TIFF 6.0 section 2,
EXIF 2.32 section 4.6.4. Imports nothing of ours.
"""

import struct

UPRIGHT = 1
_PREFIX = b"Exif\x00\x00"  # before the TIFF in a JPEG, and in some WebP files
_BYTE_ORDERS = {b"II*\x00": "<", b"MM\x00*": ">"}
_ORIENTATION_TAG = 0x0112
_VALUE_LAYOUTS = {3: "H", 4: "I"}  # SHORT, which the standard wants, and LONG
_ENTRY_BYTES = 12
_ORIENTATIONS = range(1, 9)


def orientation(exif: bytes) -> int:
    """The orientation, 1 to 8; 1, which is upright, when it is missing or damaged."""
    tiff = exif.removeprefix(_PREFIX)
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return UPRIGHT
    try:
        value = _first_directory_value(tiff, order)
    except struct.error:  # it points outside the block
        return UPRIGHT
    return value if value in _ORIENTATIONS else UPRIGHT


def _first_directory_value(tiff: bytes, order: str) -> int:
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (entries,) = struct.unpack_from(order + "H", tiff, start)
    for index in range(entries):
        position = start + 2 + index * _ENTRY_BYTES
        tag, kind, count = struct.unpack_from(order + "HHI", tiff, position)
        if tag == _ORIENTATION_TAG and kind in _VALUE_LAYOUTS and count == 1:
            (value,) = struct.unpack_from(order + _VALUE_LAYOUTS[kind], tiff, position + 8)
            return int(value)
    return UPRIGHT
