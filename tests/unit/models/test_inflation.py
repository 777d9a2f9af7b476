import io
import zipfile

import pytest

from models.errors import IntegrityError
from models.inflation import check_inflation


def archive_of(size):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("content", bytes(size))
    return buffer.getvalue()


def test_a_small_archive_may_inflate_well():
    check_inflation(archive_of(16 * 2**20), "a.zip")


def test_a_bomb():
    with pytest.raises(IntegrityError, match=r"a\.zip inflates from \d+ to 33554432 bytes"):
        check_inflation(archive_of(32 * 2**20), "a.zip")


@pytest.mark.parametrize("data", [b"", b"PK\3\4", bytes(100), archive_of(9)[:-1]])
def test_no_archive(data):
    with pytest.raises(IntegrityError, match=r"a\.zip is not a ZIP archive"):
        check_inflation(data, "a.zip")
