"""Stores for tests: a web server and a real implementation of S3's API, in this process."""

import base64
import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

AWS = {
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-the-bucket",
    "AWS_REGION": "eu-central-1",
}
BUCKET = "models"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class _Asking(_Quiet):
    """Serves only ann, whose password is pa@ss."""

    def do_GET(self) -> None:
        expected = "Basic " + base64.b64encode(b"ann:pa@ss").decode()
        if self.headers["Authorization"] == expected:
            super().do_GET()
        else:
            self.send_error(401)


@contextmanager
def web_server(folder: Path, *, asks: bool = False) -> Iterator[str]:
    """HOST:PORT of a web server that serves ``folder``; to ann alone where it ``asks``."""
    handler = partial(_Asking if asks else _Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Bucket:
    """A bucket of moto's S3, which can go away and come back with what it held.

    Attributes:
        url: Of the repository in it.
        environment: What a client needs.
    """

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._endpoint = f"http://127.0.0.1:{self._port}"
        self.url = f"s3://{BUCKET}/served"
        self.environment = {**AWS, "AWS_ENDPOINT_URL": self._endpoint}
        self.come_back()
        self._call("PUT", f"/{BUCKET}")

    def come_back(self) -> None:
        """Answer requests."""
        from moto.server import ThreadedMotoServer  # noqa: PLC0415 - it takes its time

        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self._server.start()

    def go_away(self) -> None:
        """Refuse connections."""
        self._server.stop()

    def google_account(self) -> str:
        """A service account for ``gs://``: GCS lists and gives files as S3 does."""
        account = {"client_email": "", "private_key": "", "private_key_id": ""}
        return json.dumps({**account, "gcs_base_url": self._endpoint, "disable_oauth": True})

    def upload(self, folder: Path, *names: str) -> None:
        """Upload ``folder``, MODEL/VERSION of a repository; or ``names`` of its files alone."""
        for path in sorted(folder.iterdir()):
            if not names or path.name in names:
                self.put(f"{folder.parent.name}/{folder.name}/{path.name}", path.read_bytes())

    def put(self, path: str, data: bytes) -> None:
        """Write one file of the repository."""
        self._call("PUT", f"/{BUCKET}/served/{path}", data)

    def delete(self, path: str) -> None:
        """Delete one."""
        self._call("DELETE", f"/{BUCKET}/served/{path}")

    def _call(self, method: str, path: str, data: bytes | None = None) -> None:
        # A form would be read as one; who signs nothing may read.
        headers = {"Content-Type": "application/octet-stream", "x-amz-acl": "public-read"}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request(method, path, data, headers)
        assert connection.getresponse().status < 300
        connection.close()


@contextmanager
def bucket() -> Iterator[Bucket]:
    """A bucket; skips where moto is not installed."""
    pytest.importorskip("moto", reason="needs moto, of the dev extra")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        made = Bucket()
        for name, value in made.environment.items():
            patch.setenv(name, value)
        try:
            yield made
        finally:
            made.go_away()
