"""The classify API against a real server."""

import struct
import urllib.request
import zlib
from collections.abc import Iterator

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2
from grpc_status import rpc_status
from PIL import Image

from client import Client
from proto.classify.v1 import classify_pb2, classify_pb2_grpc, common_pb2, model_pb2, model_pb2_grpc
from tests.integration.conftest import (
    PHOTOS,
    USUAL,
    VERSION,
    Server,
    in_both_modes,
    run_server,
)

Request = classify_pb2.ClassifyRequest
TIMEOUT_S = 30

pytest_generate_tests = in_both_modes


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


@pytest.fixture(scope="module")
def classifier(channel: grpc.Channel) -> classify_pb2_grpc.ClassifyServiceStub:
    return classify_pb2_grpc.ClassifyServiceStub(channel)


def request_of(data: bytes, **fields: object) -> Request:
    return Request(image=classify_pb2.Image(encoded=data), **fields)


def refusal(stub, request) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Classify(request, timeout=TIMEOUT_S)
    return caught.value


def best(response: classify_pb2.ClassifyResponse) -> str:
    return response.predictions[0].id


def huge_png() -> bytes:
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    crc = struct.pack(">I", zlib.crc32(chunk))
    end = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + crc + end


def test_bundled_photos_get_their_right_class(classifier) -> None:
    right = sum(
        path.name.startswith(best(classifier.Classify(request_of(path.read_bytes()))))
        for path in PHOTOS.glob("*.jpg")
    )
    assert right >= 9


def test_the_answer_is_complete(classifier, cat: bytes) -> None:
    response = classifier.Classify(request_of(cat, request_id="mine"), timeout=TIMEOUT_S)
    assert response.request_id == "mine"
    assert (response.model_name, response.model_version) == ("cats-vs-dogs", VERSION)
    assert [(p.index, p.id, p.display_name) for p in response.predictions] == [
        (0, "cat", "Cat"),
        (1, "dog", "Dog"),
    ]
    assert sum(p.score for p in response.predictions) == pytest.approx(1, abs=1e-5)
    timings = response.timings
    assert timings.batch_size >= 1
    steps = timings.decode_us + timings.queue_us + timings.engine_us
    assert 0 < steps <= timings.total_us
    assert timings.batch_closed_by in ("idle", "full")
    assert 0 < timings.predicted_engine_us < 10_000_000


@pytest.mark.parametrize(
    "priority",
    [classify_pb2.PRIORITY_INTERACTIVE, classify_pb2.PRIORITY_NORMAL, classify_pb2.PRIORITY_BULK],
)
def test_every_priority_is_served_and_no_other(classifier, cat: bytes, priority: int) -> None:
    assert best(classifier.Classify(request_of(cat, priority=priority))) == "cat"
    error = refusal(classifier, request_of(cat, priority=priority + 90))
    assert_refused(error, grpc.StatusCode.INVALID_ARGUMENT, "priority")


def test_top_k_and_minimum_score_leave_labels_out(classifier, cat: bytes) -> None:
    assert len(classifier.Classify(request_of(cat, top_k=1)).predictions) == 1
    assert len(classifier.Classify(request_of(cat, top_k=1000)).predictions) == 2
    kept = classifier.Classify(request_of(cat, min_score=0.5)).predictions
    assert [p.id for p in kept] == ["cat"]


def test_raw_pixels_are_classified_like_the_photo(classifier, cat: bytes) -> None:
    image = Image.open(PHOTOS / "cat.2000.jpg").convert("RGB")
    raw = classify_pb2.RawImage(height=image.height, width=image.width, data=image.tobytes())
    response = classifier.Classify(Request(image=classify_pb2.Image(raw=raw)))
    encoded = classifier.Classify(request_of(cat))
    assert response.predictions[0].score == pytest.approx(encoded.predictions[0].score, abs=0.02)


BAD_REQUESTS = {
    "no image": (Request(), "image"),
    "empty": (request_of(b""), "image.encoded"),
    "text": (request_of(b"hello" * 100), "image.encoded"),
    "huge claim": (request_of(huge_png()), "image.encoded"),
    "raw mismatch": (
        Request(image=classify_pb2.Image(raw=classify_pb2.RawImage(height=2, width=2, data=b"x"))),
        "image.raw",
    ),
    "raw overflow": (
        Request(
            image=classify_pb2.Image(raw=classify_pb2.RawImage(height=2**31 - 1, width=2**31 - 1))
        ),
        "image.raw",
    ),
    "both sources": (
        Request(image=classify_pb2.Image(encoded=b"x", raw=classify_pb2.RawImage(height=1))),
        "image",
    ),
    "control characters in the id": (Request(request_id="a\nb"), "request_id"),
    "long id": (Request(request_id="a" * 129), "request_id"),
}


@pytest.mark.parametrize(("request_", "field"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_request_names_its_field(classifier, cat: bytes, request_, field: str) -> None:
    assert_refused(refusal(classifier, request_), grpc.StatusCode.INVALID_ARGUMENT, field)
    assert best(classifier.Classify(request_of(cat))) == "cat"


@pytest.mark.parametrize("top_k", [0, -1, 1001, 10_000, 2**31 - 1, -(2**31)])
def test_top_k_out_of_range(classifier, cat: bytes, top_k: int) -> None:
    error = refusal(classifier, request_of(cat, top_k=top_k))
    assert_refused(error, grpc.StatusCode.INVALID_ARGUMENT, "top_k")


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -0.1, 1.1])
def test_minimum_score_out_of_range(classifier, cat: bytes, score: float) -> None:
    error = refusal(classifier, request_of(cat, min_score=score))
    assert_refused(error, grpc.StatusCode.INVALID_ARGUMENT, "min_score")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, None])
def test_a_truncated_photo_is_refused(classifier, cat: bytes, share: float | None) -> None:
    cut = cat[:-2] if share is None else cat[: int(len(cat) * share)]
    error = refusal(classifier, request_of(cut))
    assert_refused(error, grpc.StatusCode.INVALID_ARGUMENT, "image.encoded")


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"name": "nobody"}, grpc.StatusCode.NOT_FOUND),
        ({"name": "x" * 10_000}, grpc.StatusCode.NOT_FOUND),
        ({"version": "7"}, grpc.StatusCode.NOT_FOUND),
        ({"version_label": "nowhere"}, grpc.StatusCode.NOT_FOUND),
        ({"version": ""}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"version": "../1"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"version": "-1"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"version": "1\0"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"version": "1" + "0" * 40}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_an_unknown_model_is_named(classifier, cat: bytes, spec, code) -> None:
    error = refusal(classifier, request_of(cat, model=common_pb2.ModelSpec(**spec)))
    assert error.code() is code
    assert error.details().startswith("model.")
    assert len(error.details()) < 200


@pytest.mark.parametrize("spec", [{"version": VERSION}, {"version_label": "latest"}])
def test_a_version_may_be_chosen(classifier, cat: bytes, spec) -> None:
    request = request_of(cat, model=common_pb2.ModelSpec(name="cats-vs-dogs", **spec))
    assert classifier.Classify(request).model_version == VERSION


def test_a_malformed_message_is_an_invalid_argument(channel: grpc.Channel) -> None:
    call = channel.unary_unary("/classify.v1.ClassifyService/Classify")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xff\xff", timeout=TIMEOUT_S)
    assert_refused(caught.value, grpc.StatusCode.INVALID_ARGUMENT, "request")


def test_a_batch_answers_each_item_in_order(classifier, cat: bytes, dog: bytes) -> None:
    items = [request_of(cat, request_id="a"), request_of(b"?", request_id="b"), request_of(dog)]
    batch = classify_pb2.ClassifyBatchRequest(requests=items)
    first, second, third = classifier.ClassifyBatch(batch, timeout=TIMEOUT_S).results
    assert (first.request_id, best(first.response)) == ("a", "cat")
    assert (second.request_id, second.error.code) == ("b", code_pb2.INVALID_ARGUMENT)
    assert best(third.response) == "dog"
    assert third.request_id == third.response.request_id != ""


@pytest.mark.parametrize(
    ("count", "code"),
    [(0, grpc.StatusCode.INVALID_ARGUMENT), (65, grpc.StatusCode.RESOURCE_EXHAUSTED)],
)
def test_a_batch_has_bounds(classifier, count: int, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        classifier.ClassifyBatch(classify_pb2.ClassifyBatchRequest(requests=[Request()] * count))
    assert caught.value.code() is code
    assert caught.value.details().startswith("requests")


def test_a_stream_goes_on_after_a_bad_item(classifier, cat: bytes, dog: bytes) -> None:
    requests = {f"{n}": request_of([cat, dog, b"?"][n % 3], request_id=f"{n}") for n in range(60)}
    stream = classifier.ClassifyStream(
        (classify_pb2.ClassifyStreamRequest(request=item) for item in requests.values()),
        timeout=TIMEOUT_S,
    )
    results = [message.result for message in stream]
    assert sorted(result.request_id for result in results) == sorted(requests)
    for result in results:
        kind = int(result.request_id) % 3
        if kind == 2:
            assert result.error.code == code_pb2.INVALID_ARGUMENT
        else:
            assert best(result.response) == ["cat", "dog"][kind]


def test_a_stream_item_needs_an_id(classifier, cat: bytes) -> None:
    items = [request_of(cat), request_of(cat, request_id="named")]
    stream = classifier.ClassifyStream(
        iter([classify_pb2.ClassifyStreamRequest(request=item) for item in items])
    )
    codes = {message.result.request_id: message.result.error.code for message in stream}
    assert codes == {"": code_pb2.INVALID_ARGUMENT, "named": code_pb2.OK}


def test_an_expired_deadline(classifier, cat: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        classifier.Classify(request_of(cat), timeout=0.0005)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert best(classifier.Classify(request_of(cat))) == "cat"


def test_a_cancelled_call_leaves_its_neighbours_alone(classifier, cat: bytes) -> None:
    calls = [classifier.Classify.future(request_of(cat)) for _ in range(32)]
    for call in calls[::2]:
        call.cancel()
    assert all(best(call.result(timeout=TIMEOUT_S)) == "cat" for call in calls[1::2])


def test_models_are_described(channel: grpc.Channel) -> None:
    models = model_pb2_grpc.ModelServiceStub(channel)
    listed = models.ListModels(model_pb2.ListModelsRequest()).models
    model = next(model for model in listed if model.is_default)
    same = models.GetModel(model_pb2.GetModelRequest()).model
    for one in (model, same):
        one.ClearField("capacity")  # goes with what was computed in between
    assert model == same
    assert (model.name, model.version, model.is_default) == ("cats-vs-dogs", VERSION, True)
    assert model.state == model_pb2.MODEL_STATE_READY
    assert [label.id for label in model.labels] == ["cat", "dog"]
    assert (model.input.height, model.input.width) == (160, 160)
    assert model.metrics["accuracy"] >= 0.9
    assert model.metrics["images"] == 1000
    unknown = model_pb2.GetModelRequest(model=common_pb2.ModelSpec(name="nobody"))
    with pytest.raises(grpc.RpcError) as caught:
        models.GetModel(unknown)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("fronts", ["1", "2"])
def test_a_model_says_what_it_can_do_here(fronts: str, cat: bytes) -> None:
    """A server of its own: under others' traffic the times of batches run together."""
    with run_server(*USUAL, "--fronts", fronts) as server, Client(server.grpc) as client:
        client.classify(cat)
        capacity = client.model().capacity
    assert capacity is not None
    assert list(capacity.batch_seconds) == sorted(capacity.batch_seconds)
    assert max(capacity.batch_seconds) == capacity.max_batch_size == 8
    seconds = list(capacity.batch_seconds.values())
    assert seconds == sorted(seconds)  # a smaller batch measured as slower counts as fast
    assert seconds[0] > 0
    assert seconds[-1] < 60
    assert capacity.device in ("cpu", "cuda")
    assert min(capacity.lanes, capacity.decoders) >= 1
    # With several fronts the engine's process decodes nothing.
    assert 0 <= capacity.decode_s < 60


def test_metrics_tell_what_happened(server: Server, classifier, cat: bytes) -> None:
    classifier.Classify(request_of(cat))
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=TIMEOUT_S) as page:
        text = page.read().decode()
    labels = f'model="cats-vs-dogs",version="{VERSION}"'
    assert f'menagerie_requests_total{{code="OK",method="Classify",{labels}}}' in text
    for step in ("request", "decode", "queue", "engine"):
        assert f"menagerie_{step}_seconds_bucket{{le=" in text
        assert f"menagerie_{step}_seconds_count{{{labels}}}" in text
    assert f"menagerie_batch_size_count{{{labels}}}" in text
    queue = f'model="cats-vs-dogs",queue="engine",version="{VERSION}"'
    assert f"menagerie_queue_depth{{{queue}}} 0.0" in text
    assert f"menagerie_batch_cost_ratio_count{{{labels}}}" in text
    assert "menagerie_model_info{" in text


def assert_refused(error: grpc.RpcError, code: grpc.StatusCode, field: str) -> None:
    assert error.code() is code
    assert error.details().startswith(field + " ")
    status = rpc_status.from_call(error)
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    assert bad.field_violations[0].field == field
