from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.unit.trainer.data.test_archives import zipped
from tests.unit.trainer.photos import write_photos
from trainer.data import downloads
from trainer.data.downloads import downloaded
from trainer.errors import DataError


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Path]:
    """An archive in a folder that an HTTP server offers, as a data set's owner does."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    zipped(write_photos(tmp_path / "photos", per_class=4), folder / "photos.zip", "")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("no_proxy", "127.0.0.1")
            file = downloads._File(
                f"http://127.0.0.1:{server.server_port}/photos.zip",
                size=(folder / "photos.zip").stat().st_size,
            )
            source = downloads._DataSet("a friend", (file,))
            patch.setitem(downloads._DATA_SETS, "cats-and-dogs-filtered", source)
            yield folder / "photos.zip"
        server.shutdown()
        thread.join()


def test_a_data_set_is_fetched_once(shelf: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = downloaded("cats-and-dogs-filtered", cache)
    assert (folder / "train" / "red").is_dir()
    shelf.unlink()
    assert downloaded("cats-and-dogs-filtered", cache) == folder
    assert list((cache / "downloads").iterdir()) == []


def test_a_download_of_another_size_is_not_kept(shelf: Path, tmp_path: Path) -> None:
    whole = shelf.read_bytes()
    cache = tmp_path / "cache"
    shelf.write_bytes(whole[:-9])
    for _ in range(2):
        with pytest.raises(DataError, match=r"bytes came instead of .* from a friend"):
            downloaded("cats-and-dogs-filtered", cache)
        assert list((cache / "downloads").iterdir()) == []
    shelf.write_bytes(whole)
    assert downloaded("cats-and-dogs-filtered", cache).is_dir()
