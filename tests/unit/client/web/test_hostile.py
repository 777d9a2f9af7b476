"""What nobody's browser would send."""

import gzip
import socket
import zlib

import httpx
import pytest

from client.web.app import MAX_BODY_BYTES
from client.web.connection import HEAD_BYTES, PatientProtocol
from tests.gateway import run_gateway

ZEROS = bytes(2**20)


@pytest.fixture(scope="module")
def url():
    # Nothing here reaches a server.
    with run_gateway("127.0.0.1:1") as address:
        yield httpx.URL(address)


def told(url, *pieces):
    """What the gateway answers to bytes, until it closes the connection."""
    with socket.create_connection((url.host, url.port), 30) as raw:
        for piece in pieces:
            raw.sendall(piece)
        answer = b""
        try:
            while piece := raw.recv(65536):
                answer += piece
        except ConnectionResetError:  # it does not read what it has refused
            pass
        return answer


def alive(url):
    return httpx.get(url.join("/healthz"), trust_env=False).text == "ok\n"


HEAD = b"POST /v2/models/pets/infer HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2 * HEAD_BYTES,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * HEAD_BYTES,
        b"GET /" + b"a" * 2 * HEAD_BYTES,
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Content-Length: one\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
def test_what_is_no_http(url, request_):
    assert told(url, request_).split()[1] in (b"400", b"431", b"501")
    assert alive(url)


def test_a_body_shorter_than_announced_ends_its_connection_alone(url):
    with socket.create_connection((url.host, url.port), 30) as raw:
        raw.sendall(HEAD + b"Content-Length: 100\r\n\r\n{}")
        raw.shutdown(socket.SHUT_WR)
        raw.recv(100)
    assert alive(url)


def test_what_follows_a_body_is_another_request(url):
    answer = told(url, HEAD + b"Content-Length: 2\r\n\r\n{}garbage\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 400 Bad Request\r\n" in answer


def test_a_head_that_never_ends_is_given_up(url, monkeypatch):
    with socket.create_connection((url.host, url.port), 30) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"ok\n"):
            answer += raw.recv(65536)
        monkeypatch.setattr(PatientProtocol, "head_s", 0.2)
        raw.sendall(b"GET / HT")
        assert raw.recv(100) == b""
    assert told(url) == b""
    assert told(url, b"GET / HTTP/1.1\r\nX: ") == b""


@pytest.mark.parametrize(
    ("path", "encoding", "wbits"),
    [("/v2/models/pets/infer", "gzip", 31), ("/v1/classify", "deflate", 15)],
)
def test_a_bomb_is_not_inflated(url, path, encoding, wbits):
    stream = zlib.compressobj(1, wbits=wbits)
    pieces = [stream.compress(ZEROS) for _ in range(MAX_BODY_BYTES // len(ZEROS) + 1)]
    bomb = b"".join(pieces) + stream.flush()
    assert len(bomb) < MAX_BODY_BYTES / 200
    answer = httpx.post(
        url.join(path), content=bomb, headers={"content-encoding": encoding}, trust_env=False
    )
    assert answer.status_code == 413
    assert "larger than the limit" in str(answer.json()["error"])


# Without the time of day, which would give each worker tests of other names.
ZIPPED = gzip.compress(b"{}", mtime=0)


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        pytest.param("gzip", b"no gzip", 400, id="no gzip"),
        pytest.param("gzip", ZIPPED[:-4], 400, id="cut short"),
        pytest.param("gzip", ZIPPED + ZIPPED, 400, id="two in a row"),
        pytest.param("deflate", b"", 400, id="empty"),
        pytest.param("br", b"{}", 415, id="unknown"),
        pytest.param("gzip, gzip", gzip.compress(ZIPPED, mtime=0), 415, id="twice"),
        pytest.param("identity", b"no json", 400, id="not compressed"),
    ],
)
def test_a_body_that_is_compressed_wrongly(url, encoding, body, status):
    answer = httpx.post(
        url.join("/v2/models/pets/infer"),
        content=body,
        headers={"content-encoding": encoding},
        trust_env=False,
    )
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


def test_a_form_of_too_many_parts(url):
    field = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    image = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n1\r\n'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    for parts in (field * 5000, image * 5000, field.replace(b'"a"', b'"' + b"a" * 10**6 + b'"')):
        answer = httpx.post(
            url.join("/v1/classify:batch"), content=parts + b"--x--\r\n", headers=headers,
            trust_env=False,
        )  # fmt: skip
        assert answer.status_code in (400, 413)


def test_errors_below_v2_are_those_of_its_protocol(url):
    answer = httpx.post(url.join("/v2/models/pets/infer"), content=b"no json", trust_env=False)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("the body is not JSON")
    for path, status in (("/v2/nothing", 404), ("/v2/models/pets/infer", 405), ("/v2", 503)):
        answer = httpx.get(url.join(path), trust_env=False)
        assert answer.status_code == status
        assert isinstance(answer.json()["error"], str)
    assert httpx.get(url.join("/v2/health/live"), trust_env=False).status_code == 503
