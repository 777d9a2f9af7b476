import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.exif import UPRIGHT, orientation
from tests.unit.models.images import exif


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("kind", [3, 4], ids=["short", "long"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"], ids=["bare", "prefixed"])
def test_each_layout(order, kind, prefix):
    found = [orientation(exif(i, order=order, kind=kind, prefix=prefix)) for i in range(1, 9)]
    assert found == list(range(1, 9))


def test_it_may_come_after_other_entries():
    make = struct.pack(">HHII", 0x010F, 2, 4, 0)
    block = exif(6)
    assert orientation(block[:8] + b"\0\2" + make + block[10:]) == 6


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_values_that_mean_nothing(value):
    assert orientation(exif(value)) == UPRIGHT


DAMAGED = {
    "empty": b"",
    "prefix only": b"Exif\0\0",
    "no byte order": b"XX\0*" + exif(6)[4:],
    "no magic": b"MM\0+" + exif(6)[4:],
    "directory outside": exif(6)[:4] + b"\xff\xff\xff\xff",
    "entry outside": exif(6)[:-8],
    "no entries": exif(6)[:8] + b"\0\0",
    "more entries than bytes": exif(6)[:8] + b"\xff\xff" + bytes(100),
    "text instead of a number": exif(6).replace(b"\1\x12\0\3", b"\1\x12\0\2"),
    "two numbers": exif(6).replace(b"\0\3\0\0\0\1", b"\0\3\0\0\0\2"),
}


@pytest.mark.parametrize("block", DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_counts_as_upright(block):
    assert orientation(block) == UPRIGHT


def test_damage_behind_it_does_no_harm():
    block = exif(6)
    assert orientation(block[:8] + b"\xff\xff" + block[10:22]) == 6


@given(start=st.sampled_from([b"", b"MM\0*", b"II*\0", exif(6)]), rest=st.binary(max_size=200))
def test_random_bytes_give_an_orientation(start, rest):
    assert orientation(start + rest) in range(1, 9)
