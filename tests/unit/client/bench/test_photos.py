from itertools import islice

import pytest

from client.bench import photos
from client.bench.photos import Photos, read_photos, sizes_kb
from client.errors import ClientError, ImageFileError


def test_each_comes_equally_often_in_a_mixed_order():
    images = tuple(bytes([n]) for n in range(20))
    sent = list(islice(Photos(images).endless(seed=1), 60))
    assert all(sent.count(image) == 3 for image in images)
    assert sent[:20] != list(images)
    assert sent == list(islice(Photos(images).endless(seed=1), 60))
    assert sent != list(islice(Photos(images).endless(seed=2), 60))


def test_what_does_not_fit_into_memory_is_left_out(monkeypatch):
    monkeypatch.setattr(photos, "MOST_BYTES", 5)
    read = read_photos([b"123", b"456", b"789", b"0"])
    assert (read.images, read.left_out) == ((b"123", b"456"), 2)


def test_a_missing_file_and_no_file():
    with pytest.raises(ImageFileError, match="no such file"):
        read_photos(["nowhere.jpg"])
    with pytest.raises(ClientError, match="no image"):
        read_photos([])


def test_sizes():
    assert sizes_kb([bytes(3000), bytes(1000), bytes(2000)]) == (1.0, 2.0, 3.0)
