import io
import os
from pathlib import Path

import pytest

from client import ImageFileError
from client.images import MAX_IMAGE_BYTES, image_bytes, stream_bytes


def test_bytes_paths_and_functions_are_images(tmp_path):
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"cat")
    for source in (b"cat", path, str(path), lambda: b"cat"):
        assert image_bytes(source) == b"cat"


def refusal(source):
    with pytest.raises(ImageFileError) as refused:
        image_bytes(source)
    return refused.value


def test_a_missing_file(tmp_path):
    error = refusal(tmp_path / "nope.jpg")
    assert (error.code, error.reason, error.message) == (
        "NOT_FOUND",
        "FILE_MISSING",
        "no such file",
    )
    assert str(error) == f"{tmp_path / 'nope.jpg'}: no such file"


def test_an_empty_file(tmp_path):
    (tmp_path / "empty.jpg").touch()
    assert refusal(tmp_path / "empty.jpg").reason == "FILE_EMPTY"


def test_a_directory_a_loop_and_an_impossible_name(tmp_path):
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for path in (tmp_path, tmp_path / "loop.jpg", tmp_path / ("x" * 300), "a\0b"):
        assert refusal(path).reason == "FILE_UNREADABLE"


def test_a_file_without_permission(tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    error = refusal(tmp_path / "secret.jpg")
    assert (error.code, error.message) == ("PERMISSION_DENIED", "cannot be read: permission denied")


def test_a_file_above_the_limit_is_not_read(tmp_path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        os.truncate(file.fileno(), MAX_IMAGE_BYTES + 1)  # sparse: takes no room
    error = refusal(path)
    assert error.code == "RESOURCE_EXHAUSTED"
    assert f"{MAX_IMAGE_BYTES:,} bytes" in error.message


def test_a_stream_without_end_is_read_up_to_the_limit():
    class Zeros(io.RawIOBase):
        def read(self, size):
            assert size == MAX_IMAGE_BYTES + 1
            return bytes(size)

    with pytest.raises(ImageFileError, match="too large"):
        stream_bytes(Zeros(), "-")


def test_bytes_above_the_limit():
    assert refusal(bytes(MAX_IMAGE_BYTES + 1)).reason == "FILE_TOO_LARGE"
    assert len(image_bytes(bytes(MAX_IMAGE_BYTES))) == MAX_IMAGE_BYTES
