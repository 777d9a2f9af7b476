import os

import pytest

from models.errors import IntegrityError
from models.files import read_regular


def test_a_regular_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"1234")
    assert read_regular(path, 4) == b"1234"


def test_a_longer_file_is_not_read(tmp_path):
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, 2**40)  # sparse
    with pytest.raises(IntegrityError, match=r"file has 1099511627776 bytes; 9 are expected"):
        read_regular(path, 9)


def test_an_absurd_limit_allocates_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"1234")
    assert read_regular(path, 10**30) == b"1234"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "file cannot be read: No such file"),
        (lambda path: path.mkdir(), "file"),
        (lambda path: path.symlink_to(__file__), "file cannot be read"),
        (lambda path: path.symlink_to("file"), "file cannot be read"),
        (os.mkfifo, "file is not a regular file"),
    ],
    ids=["missing", "folder", "link", "loop", "pipe"],
)
def test_what_is_no_regular_file(tmp_path, make, message):
    make(tmp_path / "file")
    with pytest.raises(IntegrityError, match=message):
        read_regular(tmp_path / "file", 100)
