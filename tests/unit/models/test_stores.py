"""Stores are read up to a limit, and say nothing of who reads them."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models import listing, stores
from models.errors import IntegrityError, StoreError
from models.stores import Store
from tests.stores import AWS, web_server


class _Endless(BaseHTTPRequestHandler):
    """A bucket that lists for ever, and names that lead out of it."""

    pages = 0

    def do_GET(self) -> None:
        type(self).pages += 1
        names = "".join(
            f"<Contents><Key>{key}</Key><Size>9223372036854775807</Size><ETag>e</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key in (*(f"pets/{self.pages}/f{i}" for i in range(1000)),)
        )
        body = (
            '<?xml version="1.0"?><ListBucketResult><IsTruncated>true</IsTruncated>'
            f"<NextContinuationToken>{self.pages}</NextContinuationToken>{names}</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Endless) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        for name, value in {**AWS, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        yield "s3://bucket"
        server.shutdown()
        thread.join()


def test_an_endless_listing_of_absurd_sizes_is_given_up(
    endless: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_FILES", 3000)
    with pytest.raises(StoreError, match="more than 3000 files"):
        Store(endless).listing()
    assert _Endless.pages <= 6


def test_files_are_read_up_to_their_limit(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "file").write_bytes(b"12345")
    store = Store(f"file://{tmp_path}")
    assert store.read("pets/file", 5) == b"12345"
    with pytest.raises(IntegrityError, match="file in the store has more than 4 bytes"):
        store.read("pets/file", 4)
    with pytest.raises(IntegrityError, match="none is not in the store"):
        store.read("pets/none", 5)
    store.save("pets/file", tmp_path / "copy", 5)
    assert (tmp_path / "copy").read_bytes() == b"12345"


def test_an_index_is_read_up_to_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_MAX_INDEX_BYTES", 10)
    (tmp_path / "index.json").write_text('{"files": {}}')
    with web_server(tmp_path) as address, pytest.raises(StoreError, match="more than 10 bytes"):
        Store(f"http://{address}").listing()


def test_a_web_server_without_an_index_is_no_empty_repository(tmp_path: Path) -> None:
    with web_server(tmp_path) as address, pytest.raises(StoreError, match=r"index\.json is not"):
        Store(f"http://{address}").listing()


def test_credentials_in_a_buckets_address_are_refused_unseen() -> None:
    with pytest.raises(StoreError, match="do not belong") as refused:
        Store("s3://AKIA:s3cr3t@bucket/models")
    assert "s3cr3t" not in str(refused.value)


def test_profiles_of_the_aws_command_line_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("boto3", reason="needs boto3, of the extra s3")
    files = {"AWS_SHARED_CREDENTIALS_FILE": tmp_path / "keys", "AWS_CONFIG_FILE": tmp_path / "conf"}
    files["AWS_SHARED_CREDENTIALS_FILE"].write_text(
        "[models]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = of-the-profile\n"
    )
    files["AWS_CONFIG_FILE"].write_text("[profile models]\nregion = eu-west-3\n")
    seen: list[str] = []

    class Noting(_Endless):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_error(403)

    with ThreadingHTTPServer(("127.0.0.1", 0), Noting) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_PROFILE", "models")
        for name, path in files.items():
            monkeypatch.setenv(name, str(path))
        with pytest.raises(StoreError, match="403"):
            Store("s3://bucket/models").listing()
        server.shutdown()
        thread.join()
    assert "Credential=AKIAPROFILE/" in seen[0]
    assert "/eu-west-3/s3/" in seen[0]


@pytest.mark.parametrize("url", ["s3://bucket/models", "gs://bucket/models"])
def test_every_kind_of_store_opens_without_being_asked_anything(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    assert Store(url).url == url
