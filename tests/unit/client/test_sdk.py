import threading
import time
from datetime import UTC, datetime

import grpc
import pytest

from client import (
    ClassifyError,
    Client,
    DeadlineExceededError,
    HealthStatus,
    ImageFileError,
    InvalidArgumentError,
    NotFoundError,
    ServerUnavailableError,
    UnavailableError,
)
from proto.classify.v1 import model_pb2


def test_an_image_is_classified(client):
    result = client.classify(b"cat")
    assert (result.model, result.version, result.request_id) == ("pets", "1", "made-by-server")
    assert [(p.index, p.id, p.display_name) for p in result.predictions] == [
        (0, "cat", "Cat"),
        (1, "dog", "Dog"),
    ]
    assert result.predictions[0].score == pytest.approx(0.9)
    assert (result.timings.total_us, result.timings.batch_size) == (9900, 4)
    with pytest.raises(AttributeError):
        result.model = "other"


class Tagging(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):
    def intercept_unary_unary(self, continuation, details, request):
        return continuation(tagged(details), request)

    intercept_stream_stream = intercept_unary_unary


def tagged(details):
    return details._replace(metadata=[*(details.metadata or ()), ("x-shop", "berlin")])


def test_interceptors_see_every_call(server):
    with Client(server.address, interceptors=[Tagging()]) as client:
        assert client.classify(b"cat").predictions[0].id == "cat"
        outcomes = list(client.classify_many([(1, b"cat"), (2, b"dog")], ordered=True))
        assert [outcome.result().predictions[0].id for outcome in outcomes] == ["cat", "dog"]
        with pytest.raises(InvalidArgumentError):
            client.classify(b"not an image")
        assert client.health() is HealthStatus.SERVING
    assert len(server.metadata) == 3
    assert all(sent["x-shop"] == "berlin" for sent in server.metadata)


def test_what_is_not_said_is_left_to_the_server(server, client):
    client.classify(b"cat")
    (request,) = server.requests
    assert not request.HasField("model")
    assert not request.HasField("top_k")
    assert not request.HasField("min_score")
    assert request.request_id == ""


def test_every_argument_reaches_the_server(server, client):
    client.classify(b"cat", model="pets", version="7", top_k=0, min_score=0.0, request_id="mine")
    client.classify(b"cat", label="latest")
    first, second = server.requests
    assert (first.model.name, first.model.version, first.request_id) == ("pets", "7", "mine")
    assert first.HasField("top_k")
    assert first.HasField("min_score")
    assert second.model.version_label == "latest"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"version": "1", "label": "latest"}, "model.version_choice"),
        ({"top_k": 2**31}, "top_k"),
        ({"model": "\udc80"}, "model"),
        ({"request_id": "\udc80"}, "request_id"),
    ],
)
def test_what_no_message_can_say_is_refused_here(server, client, arguments, field):
    with pytest.raises(InvalidArgumentError) as refused:
        client.classify(b"cat", **arguments)
    assert refused.value.field == field
    assert not server.requests


def test_errors_name_field_and_reason(server, client, make_status):
    server.item_errors[b"cat"] = make_status(
        "NOT_FOUND", "no model nope", field="model.name", reason="MODEL_NOT_FOUND"
    )
    with pytest.raises(NotFoundError) as missing:
        client.classify(b"cat", model="nope")
    assert (missing.value.field, missing.value.reason) == ("model.name", "MODEL_NOT_FOUND")
    assert isinstance(missing.value.__cause__, grpc.RpcError)


def test_unavailable_is_retried_even_with_a_large_image(server, client, make_status):
    busy = make_status("UNAVAILABLE", "full", reason="QUEUE_FULL", retry_after_s=0.1)
    server.call_errors.extend([busy, busy])
    assert client.classify(b"cat" + bytes(2_000_000)).predictions[0].id == "cat"
    assert not server.call_errors


def test_nothing_else_is_retried(server, client, make_status):
    server.call_errors.extend([make_status("INTERNAL", "oops"), make_status("INTERNAL", "oops")])
    with pytest.raises(ClassifyError, match="oops"):
        client.classify(b"cat")
    assert len(server.call_errors) == 1


def test_a_server_that_stays_busy(server, client, make_status):
    busy = make_status("UNAVAILABLE", "full", reason="QUEUE_FULL", retry_after_s=0.5)
    server.call_errors.extend([busy] * 9)
    with pytest.raises(UnavailableError) as refused:
        client.classify(b"cat")
    assert not isinstance(refused.value, ServerUnavailableError)
    assert (refused.value.reason, refused.value.retry_after_s) == ("QUEUE_FULL", 0.5)
    assert len(server.call_errors) == 9 - 4


def test_nobody_listens(nobody):
    begin = time.monotonic()
    with Client(nobody) as client, pytest.raises(ServerUnavailableError) as absent:
        client.classify(b"cat")
    assert absent.value.address == nobody
    assert nobody in str(absent.value)
    assert time.monotonic() - begin < 5


def test_an_answer_that_does_not_come(server):
    server.call_errors.append(lambda _: server.released.wait())
    with (
        Client(server.address, timeout_s=0.2) as client,
        pytest.raises(DeadlineExceededError, match=r"within 0\.2 s"),
    ):
        client.classify(b"cat")


def test_the_timeout_of_a_call_goes_before_that_of_the_client(server):
    server.call_errors.append(lambda _: server.released.wait())
    with Client(server.address, timeout_s=None) as client, pytest.raises(DeadlineExceededError):
        client.classify(b"cat", timeout_s=0.2)


def test_a_bad_file_never_leaves(server, client, tmp_path):
    with pytest.raises(ImageFileError):
        client.classify(tmp_path / "nope.jpg")
    assert not server.called.is_set()


def test_models(server, client):
    model = model_pb2.Model(
        name="pets",
        version="3",
        is_default=True,
        state=model_pb2.MODEL_STATE_READY,
        version_labels=["latest"],
        labels=[model_pb2.Label(index=0, id="cat", display_name="Cat")],
        input=model_pb2.InputSpec(
            height=128, width=160, resize_rule=model_pb2.RESIZE_RULE_CENTER_CROP, crop_fraction=0.5
        ),
        network="resnet9",
        metrics={"accuracy": 0.95},
        digest="abc",
        engine="compiled",
    )
    model.create_time.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
    server.models = [model, model_pb2.Model(name="next", state=9)]
    first, second = client.models()
    assert (first.name, first.version, first.is_default, first.state) == (
        "pets",
        "3",
        True,
        "READY",
    )
    assert (first.input.width, first.input.resize_rule) == (160, "CENTER_CROP")
    assert (first.labels[0].display_name, first.version_labels) == ("Cat", ("latest",))
    assert (first.engine, second.engine) == ("compiled", "")
    assert first.created == datetime(2026, 1, 2, tzinfo=UTC)
    assert dict(first.metrics) == {"accuracy": 0.95}
    assert (second.state, second.created) == ("9", None)
    assert client.model("pets", label="latest") == first
    assert server.requests[-1].model.version_label == "latest"
    assert client.model().name == "pets"
    assert not server.requests[-1].HasField("model")


def test_health(server, client):
    assert client.health() is HealthStatus.SERVING
    server.set_serving(False)
    assert client.health() is HealthStatus.NOT_SERVING
    assert client.health("no.such.Service") is HealthStatus.SERVICE_UNKNOWN


def waiting(client, timeout_s=30.0):
    """Wait in a thread; return it and the list that it appends to when the server serves."""
    served = []

    def wait():
        client.wait_until_serving(timeout_s=timeout_s)
        served.append(True)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, served


def test_waiting_for_a_server_that_loads(server, client):
    server.set_serving(False)
    watched = threading.Event()
    server.health.on_watch = lambda _: watched.set()
    thread, served = waiting(client)
    assert watched.wait(30)
    assert not served
    server.set_serving()
    thread.join(30)
    assert served


def test_waiting_for_a_server_that_starts(new_server):
    with Client(new_server.address) as client:
        thread, served = waiting(client)
        new_server.start()
        new_server.set_serving()
        thread.join(30)
    assert served


def test_waiting_in_vain(server, client, nobody):
    server.set_serving(False)
    with pytest.raises(DeadlineExceededError, match=r"not serving after 0\.2 s"):
        client.wait_until_serving(timeout_s=0.2)
    with Client(nobody) as lonely, pytest.raises(DeadlineExceededError):
        lonely.wait_until_serving(timeout_s=0.2)
