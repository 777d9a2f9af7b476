"""gRPC-Web by hand (grpc/doc/PROTOCOL-WEB.md): what a browser's library sends and reads."""

import base64
import struct

import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2

from proto.classify.v1 import classify_pb2, model_pb2
from tests.gateway import run_gateway

pytest.importorskip("connectrpc", reason="needs the extra grpc-web")

CLASSIFY = "/classify.v1.ClassifyService/Classify"
CAT = classify_pb2.ClassifyRequest(image=classify_pb2.Image(encoded=b"cat"), top_k=2)


@pytest.fixture
def http(server):
    with run_gateway(server.address) as url, httpx.Client(base_url=url, trust_env=False) as asks:
        yield asks


def ask(http, path, message, **headers):
    """Send a message; returns those that come back, and the trailers."""
    data = message.SerializeToString()
    answer = http.post(
        path,
        content=struct.pack(">BI", 0, len(data)) + data,
        headers={"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **headers},
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/grpc-web+proto"
    messages, trailers, rest = [], dict(answer.headers), answer.content
    while rest:
        flags, size = struct.unpack(">BI", rest[:5])
        frame, rest = rest[5 : 5 + size], rest[5 + size :]
        if flags & 0x80:
            lines = (line.split(":", 1) for line in frame.decode().splitlines() if line)
            trailers |= {name.strip().lower(): value.strip() for name, value in lines}
        else:
            messages.append(frame)
    return messages, trailers


def test_a_call_and_its_answer(server, http):
    (message,), trailers = ask(http, CLASSIFY, CAT)
    assert trailers["grpc-status"] == "0"
    answer = classify_pb2.ClassifyResponse.FromString(message)
    assert [each.id for each in answer.predictions] == ["cat", "dog"]
    assert server.requests == [CAT]


def test_an_error_keeps_its_details(server, http, make_status):
    server.call_errors.append(make_status("NOT_FOUND", "no such model", field="model.name"))
    messages, trailers = ask(http, CLASSIFY, CAT)
    assert messages == []
    assert (trailers["grpc-status"], trailers["grpc-message"]) == ("5", "no%20such%20model")
    packed = trailers["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(packed + "=" * (-len(packed) % 4)))
    bad = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(bad)
    assert bad.field_violations[0].field == "model.name"


def test_nobody_behind(nobody):
    with run_gateway(nobody) as url, httpx.Client(base_url=url, trust_env=False) as http:
        assert ask(http, CLASSIFY, CAT)[1]["grpc-status"] == "14"


def test_the_deadline_of_the_caller(server, http):
    server.call_errors.append(lambda _context: server.released.wait(20))
    assert ask(http, CLASSIFY, CAT, **{"grpc-timeout": "100m"})[1]["grpc-status"] == "4"
    server.released.set()


def test_what_is_not_there(http):
    for path in (
        "/classify.v1.ClassifyService/ClassifyStream",
        "/classify.v1.AdminService/LoadModel",
    ):
        answer = http.post(path, headers={"content-type": "application/grpc-web+proto"})
        assert answer.status_code in (404, 405)


def test_what_is_no_message(http):
    headers = {"content-type": "application/grpc-web+proto"}
    for content in (b"", b"\0\0\0", b"\0\xff\xff\xff\xff", b"\1\0\0\0\1x", b"\0\0\0\0\1\xff"):
        answer = http.post(CLASSIFY, content=content, headers=headers)
        assert answer.status_code == 200
        assert answer.headers.get("grpc-status") != "0"
        assert b"grpc-status: 0" not in answer.content


def test_the_connect_protocol_comes_with_it(server, http):
    server.models = [model_pb2.Model(name="pets", version="3")]
    answer = http.post("/classify.v1.ModelService/ListModels", json={})
    assert answer.json() == {"models": [{"name": "pets", "version": "3"}]}
