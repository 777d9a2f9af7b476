import gc
import queue
import threading
from itertools import count, islice

import grpc
import pytest

from client import (
    CallCancelledError,
    ClassifyError,
    Client,
    DeadlineExceededError,
    ImageFileError,
    InternalError,
    InvalidArgumentError,
    ServerUnavailableError,
    UnavailableError,
)
from proto.classify.v1 import classify_pb2

WINDOW = 4


def response(server, request):
    return classify_pb2.ClassifyStreamResponse(result=server.result(request))


def images(number):
    return [(index, b"cat" if index % 2 == 0 else b"dog") for index in range(number)]


def best(outcome):
    return outcome.result().predictions[0].id


def test_every_item_has_one_outcome_with_its_key(server, client):
    outcomes = {o.key: best(o) for o in client.classify_many(images(100))}
    assert outcomes == {i: "cat" if i % 2 == 0 else "dog" for i in range(100)}
    ids = {request.request_id for request in server.requests}
    assert len(ids) == 100


def test_nothing_in_nothing_out(server, client):
    assert list(client.classify_many([])) == []
    assert not server.called.is_set()


def test_a_bad_item_fails_alone(client, tmp_path):
    items = [
        ("missing", tmp_path / "nope.jpg"),
        ("good", b"cat"),
        ("text", b"not an image"),
        ("empty", tmp_path / "also-nope.jpg"),
        ("last", b"dog"),
    ]
    outcomes = {o.key: o for o in client.classify_many(items)}
    assert len(outcomes) == 5
    assert best(outcomes["good"]) == "cat"
    assert best(outcomes["last"]) == "dog"
    assert isinstance(outcomes["text"].error, InvalidArgumentError)
    assert outcomes["text"].error.field == "image.encoded"
    assert isinstance(outcomes["missing"].error, ImageFileError)
    with pytest.raises(ImageFileError):
        outcomes["empty"].result()


def test_bad_files_alone_need_no_server(nobody, tmp_path):
    with Client(nobody) as client:
        outcomes = list(client.classify_many((i, tmp_path / str(i)) for i in range(99)))
    assert all(outcome.error.reason == "FILE_MISSING" for outcome in outcomes)


def test_a_wrong_argument_is_raised_at_once(client):
    with pytest.raises(InvalidArgumentError):
        client.classify_many([], version="1", label="latest")
    with pytest.raises(ValueError, match="window"):
        client.classify_many([], window=0)


def answer_backwards(server):
    """Answer in groups of WINDOW, last first, holding each group back until it is complete."""

    def stream(requests, _context):
        group = []
        for request in requests:
            group.append(request)
            if len(group) == WINDOW:
                yield from (response(server, late) for late in reversed(group))
                group = []
        yield from (response(server, late) for late in reversed(group))

    return stream


def test_outcomes_come_as_they_are_ready(server, client):
    server.stream = answer_backwards(server)
    keys = [o.key for o in client.classify_many(images(WINDOW), window=WINDOW)]
    assert keys == [3, 2, 1, 0]


@pytest.mark.parametrize("number", [WINDOW, 5 * WINDOW])
def test_ordered_outcomes_come_in_the_order_of_the_items(server, client, number, tmp_path):
    server.stream = answer_backwards(server)
    items = images(number)
    items.insert(2, ("missing", tmp_path / "nope"))
    # The missing item takes a slot while it waits for its turn, hence one more.
    outcomes = client.classify_many(items, window=WINDOW + 1, ordered=True)
    assert [o.key for o in outcomes] == [key for key, _ in items]


@pytest.mark.parametrize("ordered", [False, True])
def test_the_server_never_sees_more_than_the_window(server, client, ordered):
    most_in_flight = []

    def stream(requests, _context):
        arrived = queue.SimpleQueue()
        reader = threading.Thread(
            target=lambda: [arrived.put(r) for r in requests] and None, daemon=True
        )
        reader.start()
        in_flight = [arrived.get(timeout=30) for _ in range(WINDOW)]
        with pytest.raises(queue.Empty):  # the window is full: no other comes by itself
            arrived.get(timeout=0.1)
        for _ in range(20 - WINDOW):
            most_in_flight.append(len(in_flight))
            yield response(server, in_flight.pop(0))
            in_flight.append(arrived.get(timeout=30))
        most_in_flight.append(len(in_flight) + arrived.qsize())
        yield from (response(server, rest) for rest in in_flight)
        reader.join(timeout=30)  # a server that leaves before its caller has said all fails

    server.stream = stream
    outcomes = list(client.classify_many(images(20), window=WINDOW, ordered=ordered))
    assert len(outcomes) == 20
    assert max(most_in_flight) == WINDOW


def test_items_are_taken_no_further_ahead_than_the_window(client):
    taken = []

    def endless():
        for index in count():
            taken.append(index)
            yield index, b"cat"

    outcomes = client.classify_many(endless(), window=WINDOW, ordered=True)
    consumed = [o.key for o in islice(outcomes, 50)]
    outcomes.close()
    assert consumed == list(range(50))
    assert len(taken) <= 50 + WINDOW + 1


def test_results_arrive_while_the_next_item_is_waited_for(client):
    first_is_there = threading.Event()

    def slow():
        yield 1, b"cat"
        assert first_is_there.wait(30)
        yield 2, b"dog"

    keys = []
    for outcome in client.classify_many(slow()):
        keys.append(outcome.key)
        first_is_there.set()
    assert keys == [1, 2]


def test_what_the_items_raise_is_raised(client):
    def broken(good):
        yield from images(good)
        raise LookupError("no more photos")

    for good in (0, 1, 10):
        with pytest.raises(LookupError, match="no more photos"):
            list(client.classify_many(broken(good)))
    assert best(next(client.classify_many([(1, b"cat")]))) == "cat"


def test_leaving_early_ends_the_call(server, client):
    ended = threading.Event()

    def stream(requests, context):
        context.add_callback(ended.set)
        yield from (response(server, request) for request in requests)

    server.stream = stream
    for _ in client.classify_many(((i, b"cat") for i in count()), window=WINDOW):
        break
    gc.collect()
    assert ended.wait(30)
    assert client.classify(b"cat").predictions[0].id == "cat"


def test_nobody_listens(nobody):
    with Client(nobody) as client, pytest.raises(ServerUnavailableError) as absent:
        list(client.classify_many(images(100)))
    assert absent.value.address == nobody


def test_the_server_goes_away_in_the_middle(server, client):
    def stream(requests, _context):
        yield response(server, next(requests))
        next(requests)
        threading.Thread(target=server._server.stop, args=(0,)).start()
        server.released.wait()

    server.stream = stream
    outcomes = client.classify_many(((i, b"cat") for i in count()), window=WINDOW)
    assert best(next(outcomes)) == "cat"
    with pytest.raises((UnavailableError, CallCancelledError)):
        list(outcomes)


def test_a_silent_server(server):
    def stream(requests, _context):
        yield response(server, next(requests))
        server.released.wait()

    server.stream = stream
    with Client(server.address, timeout_s=1.0) as client:
        outcomes = client.classify_many(images(100), window=WINDOW)
        assert best(next(outcomes)) == "cat"
        with pytest.raises(DeadlineExceededError, match=r"within 1 s"):
            list(outcomes)


def test_one_answer_that_does_not_come(server):
    """The others are answered, so only that item is given up; a late answer is not believed."""
    items = {b"cat-late": None}

    def stream(requests, _context):
        late = None
        for request in requests:
            if request.image.encoded in items:
                late = request
            else:
                yield response(server, request)
        yield response(server, late)

    server.stream = stream
    answered = threading.Event()

    def until_given_up():
        yield "late", b"cat-late"
        yield "good", b"dog"
        assert answered.wait(30)
        yield "last", b"dog"

    outcomes = {}
    with Client(server.address, timeout_s=1.0) as client:
        for outcome in client.classify_many(until_given_up()):
            assert outcome.key not in outcomes
            outcomes[outcome.key] = outcome
            if outcome.key == "late":
                answered.set()
    assert isinstance(outcomes["late"].error, DeadlineExceededError)
    assert best(outcomes["good"]) == best(outcomes["last"]) == "dog"


def test_a_server_that_closes_too_early(server, client):
    def stream(requests, _context):
        yield response(server, next(requests))

    server.stream = stream
    with pytest.raises(InternalError, match="closed the stream"):
        list(client.classify_many(((i, b"cat") for i in count()), window=WINDOW))


def test_answers_that_make_no_sense(server, client):
    def stream(requests, _context):
        request = next(requests)
        stranger = classify_pb2.ClassifyResult(request_id="stranger")
        yield classify_pb2.ClassifyStreamResponse(result=stranger)
        nothing = classify_pb2.ClassifyResult(request_id=request.request_id)
        yield classify_pb2.ClassifyStreamResponse(result=nothing)
        for _ in requests:
            raise AssertionError

    server.stream = stream
    (outcome,) = client.classify_many([("key", b"cat")])
    assert isinstance(outcome.error, InternalError)


def test_an_item_without_room_is_sent_once_more(server, client, make_status):
    full = make_status("UNAVAILABLE", "full", reason="QUEUE_FULL", retry_after_s=0.01)

    def stream(requests, _context):
        for request in requests:
            result = server.result(request)
            if request.image.encoded == b"cat":
                result = classify_pb2.ClassifyResult(request_id=request.request_id, error=full)
            yield classify_pb2.ClassifyStreamResponse(result=result)

    server.stream = stream
    outcomes = list(client.classify_many(images(6), ordered=True))
    assert [best(o) for o in outcomes] == ["cat", "dog"] * 3
    ids = [request.request_id for request in server.requests]
    assert (len(ids), len(set(ids))) == (9, 6)


def test_an_item_that_finds_no_room_twice(server, client, make_status):
    server.item_errors[b"cat"] = make_status(
        "UNAVAILABLE", "full", reason="QUEUE_FULL", retry_after_s=0.01
    )
    server.item_errors[b"dog"] = make_status("UNAVAILABLE", "draining", reason="DRAINING")
    cat, dog = client.classify_many([("a", b"cat"), ("b", b"dog")], ordered=True)
    assert (cat.error.reason, dog.error.reason) == ("QUEUE_FULL", "DRAINING")


def test_closing_the_client_ends_its_streams(server):
    client = Client(server.address)
    outcomes = client.classify_many(((i, b"cat") for i in count()), window=WINDOW)
    next(outcomes)
    client.close()
    with pytest.raises(CallCancelledError):
        list(outcomes)


def test_a_failed_call_is_gone_before_its_error(server, client):
    # Its finalizer waits for a thread of gRPC's, which the end of the interpreter stops.
    def refuse(_requests, context):
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")

    server.stream = refuse
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ClassifyError) as caught:
            list(client.classify_many(images(1)))
        calls = [type(one).__name__ for one in gc.get_objects()]
        assert caught.value.code == "PERMISSION_DENIED"
        assert "_MultiThreadedRendezvous" not in calls
    finally:
        gc.enable()
