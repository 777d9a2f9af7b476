"""The catalogue of hostile inputs: what each must get, from a real server, in every mode.

After every row the server lives and answers the next good request rightly.
"""

import gzip
import json
import re
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from PIL import Image

from proto.classify.v1 import classify_pb2, classify_pb2_grpc, common_pb2
from tests.integration import http2
from tests.integration.conftest import Server, run_server
from tests.unit.models import images
from tests.unit.models.hostile import CORRUPT, LIMIT, UNSUPPORTED

Request = classify_pb2.ClassifyRequest
Code = grpc.StatusCode
TIMEOUT_S = 30
MAX_MESSAGE_BYTES = 4 * 2**20
MAX_METADATA_BYTES = 8192
MAX_BATCH_ITEMS = 8
MAX_RSS_GROWTH_KIB = 50 * 1024
CLASSIFY = "/classify.v1.ClassifyService/Classify"

# What never belongs in an error: a path, a stack, a Python or C++ exception.
LEAKS = re.compile(
    r"Traceback|\.py|\.cpp|Error\b|Exception|/(tmp|home|work|usr|root)/|0x[0-9a-f]{6}"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    flags = {
        "--max-message-bytes": MAX_MESSAGE_BYTES,
        "--max-metadata-bytes": MAX_METADATA_BYTES,
        "--max-batch-items": MAX_BATCH_ITEMS,
        "--lame-duck-s": 0,
    }
    with run_server(*(str(part) for flag in flags.items() for part in flag)) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server.grpc, options) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> classify_pb2_grpc.ClassifyServiceStub:
    return classify_pb2_grpc.ClassifyServiceStub(channel)


@pytest.fixture(autouse=True)
def next_good_request_is_right(stub, cat: bytes) -> Iterator[None]:
    yield
    answer = stub.Classify(of(cat), timeout=TIMEOUT_S)
    assert answer.predictions[0].id == "cat"


def of(data: bytes, **fields: object) -> Request:
    return Request(image=classify_pb2.Image(encoded=data), **fields)


def raw(height: int, width: int, data: bytes) -> Request:
    pixels = classify_pb2.RawImage(height=height, width=width, data=data)
    return Request(image=classify_pb2.Image(raw=pixels))


def model(**spec: str) -> Callable[[bytes], Request]:
    return lambda cat: of(cat, model=common_pb2.ModelSpec(**spec))


def field(**fields: object) -> Callable[[bytes], Request]:
    return lambda cat: of(cat, **fields)


# Rows of requests: what is sent, the code, the field that is named.
IMAGES = {
    f"{kind}: {name}": (lambda _cat, make=make: of(make()), Code.INVALID_ARGUMENT, "image.encoded")
    for kind, rows in (("unsupported", UNSUPPORTED), ("limit", LIMIT), ("corrupt", CORRUPT))
    for name, make in rows.items()
}
REQUESTS = {
    **IMAGES,
    "no image": (lambda _: Request(), Code.INVALID_ARGUMENT, "image"),
    "both sources": (
        lambda cat: Request(
            image=classify_pb2.Image(encoded=cat, raw=classify_pb2.RawImage(height=1))
        ),
        Code.INVALID_ARGUMENT,
        "image",
    ),
    "raw bytes that do not match": (lambda _: raw(2, 2, b"x"), Code.INVALID_ARGUMENT, "image.raw"),
    "raw shape that overflows": (
        lambda _: raw(2**31 - 1, 2**31 - 1, b""),
        Code.INVALID_ARGUMENT,
        "image.raw",
    ),
    "raw shape that is negative": (
        lambda _: raw(-1, -1, b"xxx"),
        Code.INVALID_ARGUMENT,
        "image.raw",
    ),
    "raw strip": (lambda _: raw(1, 60_000, bytes(180_000)), Code.INVALID_ARGUMENT, "image.raw"),
    **{
        f"top_k {value}": (field(top_k=value), Code.INVALID_ARGUMENT, "top_k")
        for value in (0, -1, 1001, 2**31 - 1, -(2**31))
    },
    **{
        f"min_score {value}": (field(min_score=value), Code.INVALID_ARGUMENT, "min_score")
        for value in (float("nan"), float("inf"), float("-inf"), -0.5, 1.5)
    },
    "priority unheard of": (field(priority=77), Code.INVALID_ARGUMENT, "priority"),
    **{
        f"request_id {name}": (field(request_id=value), Code.INVALID_ARGUMENT, "request_id")
        for name, value in {
            "with a newline": "a\nb",
            "with NUL": "a\0b",
            "with an escape": "\x1b[31m",
            "beyond ASCII": "naïve",
            "too long": "a" * 129,
        }.items()
    },
    **{
        f"version {value[:12]!r}": (model(version=value), Code.INVALID_ARGUMENT, "model.version")
        for value in ("", "../1", "1#/../", "1\0", "-1", "1" + "0" * 40, "1e3", " 1", "\u0661")
    },
    "version unknown": (model(version="7"), Code.NOT_FOUND, "model.version"),
    "model unknown": (model(name="nobody"), Code.NOT_FOUND, "model.name"),
    "model of 10 KB": (model(name="x" * 10_000), Code.NOT_FOUND, "model.name"),
    "model outside the root": (model(name="../../etc"), Code.NOT_FOUND, "model.name"),
    "label unknown": (model(version_label="nowhere"), Code.NOT_FOUND, "model.version_label"),
}
ROWS = pytest.mark.parametrize(("make", "code", "field"), REQUESTS.values(), ids=REQUESTS)


def assert_catalogued(status: status_pb2.Status, code: grpc.StatusCode, field: str) -> str:
    """The status says what, where and under which id, and nothing of the inside."""
    assert status.code == code.value[0]
    assert status.message.startswith(f"{field} ")
    assert len(status.message) < 300
    assert not LEAKS.search(str(status)), status
    bad, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert any(detail.Unpack(bad) for detail in status.details)
    assert (info.domain, bad.field_violations[0].field) == ("menagerie", field)
    assert info.metadata["request_id"].isprintable()
    return info.metadata["request_id"]


@ROWS
def test_unary(stub, cat: bytes, make, code: grpc.StatusCode, field: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub.Classify(make(cat), timeout=TIMEOUT_S)
    request_id = assert_catalogued(rpc_status.from_call(refused.value), code, field)
    assert dict(refused.value.trailing_metadata())["menagerie-request-id"] == request_id


@ROWS
def test_batch(stub, cat: bytes, make, code: grpc.StatusCode, field: str) -> None:
    batch = classify_pb2.ClassifyBatchRequest(requests=[of(cat), make(cat), of(cat)])
    first, bad, last = stub.ClassifyBatch(batch, timeout=TIMEOUT_S).results
    assert first.response.predictions[0].id == last.response.predictions[0].id == "cat"
    assert_catalogued(bad.error, code, field)


def test_stream(stub, cat: bytes) -> None:
    sent = {}
    for number, (name, (make, code, field)) in enumerate(REQUESTS.items()):
        request = make(cat)
        request.request_id = request.request_id or f"{number}"
        sent[request.request_id] = (name, request, code, field)
    stream = stub.ClassifyStream(
        (classify_pb2.ClassifyStreamRequest(request=request) for _, request, _, _ in sent.values()),
        timeout=120,
    )
    answered = []
    for message in stream:
        _, _, code, field = sent[message.result.request_id]
        assert_catalogued(message.result.error, code, field)
        answered.append(message.result.request_id)
    assert sorted(answered) == sorted(sent)


def test_the_whole_catalogue_leaves_no_memory_behind(server: Server, stub, cat: bytes) -> None:
    rows = [make(cat) for make, _, _ in REQUESTS.values()]

    def send_all() -> None:
        for request in rows:
            with pytest.raises(grpc.RpcError):
                stub.Classify(request, timeout=TIMEOUT_S)

    send_all()
    before = rss_kib(server)
    for _ in range(3):
        send_all()
    assert rss_kib(server) - before < MAX_RSS_GROWTH_KIB


# Right to the pixel is shown in tests/unit/models; here, that they are accepted.
ODD = {
    "CMYK": lambda: images.encode(images.photo(mode="CMYK"), "JPEG"),
    "grey": lambda: images.encode(images.photo(mode="L"), "JPEG"),
    "palette": lambda: images.encode(images.photo().quantize(16), "PNG"),
    "16-bit": lambda: images.encode(Image.new("I;16", (20, 20), 40_000), "PNG"),
    "alpha": lambda: images.encode(images.photo(mode="RGBA"), "PNG"),
    "1 x 1": lambda: images.encode(Image.new("RGB", (1, 1)), "PNG"),
    "animated WebP": images.animated_webp,
    "APNG": images.apng,
    "JPEG with a tail": lambda: images.encode(images.photo(), "JPEG") + b"PK\3\4" + bytes(99),
    "damaged ICC": lambda: images.encode(images.photo(), "JPEG", icc_profile=b"not a profile"),
    **{
        f"EXIF {turn} in {kind}": (
            lambda kind=kind, turn=turn: images.encode(
                images.photo(), kind, exif=images.exif(turn, prefix=b"Exif\0\0")
            )
        )
        for kind in ("JPEG", "PNG", "WEBP")
        for turn in range(1, 9)
    },
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_odd_images_are_answered(stub, make) -> None:
    answer = stub.Classify(of(make()), timeout=TIMEOUT_S)
    assert sum(prediction.score for prediction in answer.predictions) == pytest.approx(1, abs=1e-4)


# Below the level of requests


@pytest.mark.parametrize("method", ["Classify", "ClassifyBatch"])
def test_malformed_protobuf(channel: grpc.Channel, method: str) -> None:
    call = channel.unary_unary(f"/classify.v1.ClassifyService/{method}")
    with pytest.raises(grpc.RpcError) as refused:
        call(b"\xff\xff\xff", timeout=TIMEOUT_S)
    assert_catalogued(rpc_status.from_call(refused.value), Code.INVALID_ARGUMENT, "request")


def test_malformed_protobuf_in_a_stream(channel: grpc.Channel) -> None:
    call = channel.stream_stream("/classify.v1.ClassifyService/ClassifyStream")
    (answer,) = call(iter([b"\xff\xff\xff"]), timeout=TIMEOUT_S)
    result = classify_pb2.ClassifyStreamResponse.FromString(answer).result
    assert_catalogued(result.error, Code.INVALID_ARGUMENT, "request")


@pytest.mark.parametrize(
    "method", ["/classify.v1.ClassifyService/Nothing", "/nobody.v1.Service/Call", "/", "/../../x"]
)
def test_an_unknown_method(channel: grpc.Channel, method: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(method)(b"", timeout=TIMEOUT_S)
    assert refused.value.code() in (Code.UNIMPLEMENTED, Code.PERMISSION_DENIED)
    assert "menagerie-request-id" in dict(refused.value.trailing_metadata())


def test_too_many_items_before_any_decode(stub) -> None:
    items = [of(images.one_bit_png(20_000, 20_000))] * (MAX_BATCH_ITEMS + 1)
    with pytest.raises(grpc.RpcError) as refused:
        stub.ClassifyBatch(classify_pb2.ClassifyBatchRequest(requests=items), timeout=TIMEOUT_S)
    assert refused.value.code() is Code.RESOURCE_EXHAUSTED
    assert refused.value.details() == (
        f"requests has {MAX_BATCH_ITEMS + 1} items; at most {MAX_BATCH_ITEMS} are allowed"
    )


def test_a_message_above_the_cap(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(CLASSIFY)(bytes(MAX_MESSAGE_BYTES + 1), timeout=TIMEOUT_S)
    assert refused.value.code() is Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_message_above_the_cap_once_inflated(channel: grpc.Channel, compression) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(CLASSIFY)(
            bytes(100 * MAX_MESSAGE_BYTES), timeout=TIMEOUT_S, compression=compression
        )
    assert refused.value.code() is Code.RESOURCE_EXHAUSTED


def test_metadata_above_the_cap(stub, cat: bytes) -> None:
    metadata = [("filler", "x" * MAX_METADATA_BYTES)]
    with pytest.raises(grpc.RpcError) as refused:
        stub.Classify(of(cat), timeout=TIMEOUT_S, metadata=metadata)
    assert refused.value.code() is Code.RESOURCE_EXHAUSTED


def test_an_unknown_encoding(server: Server) -> None:
    with http2.connected(server.grpc) as connection:
        client = http2.Http2(connection)
        stream = client.call(CLASSIFY, ("grpc-encoding", "brotli"))
        client.message(stream, b"", compressed=True)
        # The protocol asks for UNIMPLEMENTED; gRPC's core says INTERNAL before we are asked.
        codes = [str(code.value[0]) for code in (Code.UNIMPLEMENTED, Code.INTERNAL)]
        assert client.trailers(stream)["grpc-status"] in codes


def test_a_damaged_compressed_message(server: Server) -> None:
    with http2.connected(server.grpc) as connection:
        client = http2.Http2(connection)
        stream = client.call(CLASSIFY, ("grpc-encoding", "gzip"))
        client.message(stream, gzip.compress(bytes(1000))[:-9], compressed=True)
        answer = client.trailers(stream)
        assert answer["grpc-status"] == str(Code.INTERNAL.value[0])
        assert not LEAKS.search(str(answer))


@pytest.mark.parametrize("timeout_s", [0.0, 0.001])
def test_a_deadline_that_cannot_be_met(stub, cat: bytes, timeout_s: float) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub.Classify(of(cat), timeout=timeout_s)
    assert refused.value.code() is Code.DEADLINE_EXCEEDED


def test_a_cancelled_batch_harms_no_neighbour(stub, cat: bytes) -> None:
    batch = classify_pb2.ClassifyBatchRequest(requests=[of(cat)] * MAX_BATCH_ITEMS)
    calls = [stub.ClassifyBatch.future(batch) for _ in range(8)]
    for call in calls[::2]:
        call.cancel()
    for call in calls[1::2]:
        results = call.result(timeout=TIMEOUT_S).results
        assert [result.response.predictions[0].id for result in results] == ["cat"] * len(results)


def test_every_refusal_is_in_the_log_under_its_id(tiny_repository: str) -> None:
    methods = {
        CLASSIFY: of(b"?").SerializeToString(),
        "/classify.v1.ClassifyService/ClassifyBatch": b"",
        "/classify.v1.ModelService/GetModel": b"\xff",
        "/classify.v1.ModelService/Nothing": b"",
        "/grpc.health.v1.Health/Check": b"\x0a\x02no",
    }
    found = []
    flags = ("--repository", tiny_repository, "--lame-duck-s", "0")
    with run_server(*flags) as server, grpc.insecure_channel(server.grpc) as channel:
        for method, payload in methods.items():
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(method)(payload, timeout=TIMEOUT_S)
            if "Health" not in method:  # aborts by itself, as its protocol says
                found.append(dict(refused.value.trailing_metadata())["menagerie-request-id"])
        server.terminate()
        records = [json.loads(line) for line in server.log.result().splitlines()]
    logged = {record.get("request_id"): record.get("code") for record in records}
    assert len(found) == len(set(found)) == len(methods) - 1
    assert all(logged[request_id] in code_pb2.Code.keys() for request_id in found)  # noqa: SIM118


def rss_kib(server: Server) -> int:
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:  # noqa: PTH123
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1])
