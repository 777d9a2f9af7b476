import threading
from contextlib import closing

import grpc
import pytest

from client import AsyncClient, Client, ServerUnavailableError, UnavailableError
from proto.classify.v1 import classify_pb2

NUMBER = 60


def images(number=NUMBER):
    return [(f"key {index}", b"cat %d" % index) for index in range(number)]


@pytest.fixture
def breaking(server):
    """A server whose first two streams break after some answers, others still under way."""
    streams = []

    def stream(requests, context):
        streams.append(len(streams))
        for count, request in enumerate(requests):
            if len(streams) <= 2 and count == 20:
                context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
            yield classify_pb2.ClassifyStreamResponse(result=server.result(request))

    server.stream = stream
    server.streams = streams
    return server


@pytest.mark.parametrize("ordered", [False, True])
def test_every_item_has_one_outcome(breaking, ordered):
    with Client(breaking.address) as client:
        outcomes = list(client.classify_many(iter(images()), ordered=ordered, reconnect_s=10))
    keys = [outcome.key for outcome in outcomes]
    assert sorted(keys) == sorted(key for key, _ in images())
    assert not ordered or keys == [key for key, _ in images()]
    assert all(outcome.error is None for outcome in outcomes)
    assert len(breaking.streams) == 3


@pytest.mark.parametrize("ordered", [False, True])
async def test_every_item_has_one_outcome_under_asyncio(breaking, ordered):
    async def coming():
        for item in images():
            yield item

    async with AsyncClient(breaking.address) as client:
        stream = client.classify_many(coming(), ordered=ordered, reconnect_s=10)
        outcomes = [outcome async for outcome in stream]
    keys = [outcome.key for outcome in outcomes]
    assert sorted(keys) == sorted(key for key, _ in images())
    assert not ordered or keys == [key for key, _ in images()]
    assert len(breaking.streams) == 3


def test_without_it_a_break_is_an_error(breaking):
    with Client(breaking.address) as client, pytest.raises(UnavailableError):
        list(client.classify_many(images()))


def test_a_server_that_starts_late_is_waited_for(new_server):
    starter = threading.Timer(0.5, lambda: (new_server.start(), new_server.set_serving()))
    starter.start()
    with Client(new_server.address) as client:
        outcomes = list(client.classify_many(images(5), reconnect_s=20))
    starter.join()
    assert len(outcomes) == 5


def test_one_that_stays_away_is_not(nobody):
    with Client(nobody) as client, pytest.raises(ServerUnavailableError):
        list(client.classify_many(images(5), reconnect_s=0.3))


async def test_one_that_stays_away_is_not_under_asyncio(nobody):
    async with AsyncClient(nobody) as client:
        with pytest.raises(ServerUnavailableError):
            async for _ in client.classify_many(images(5), reconnect_s=0.3):
                pass


def test_an_item_that_breaks_every_stream_is_not_sent_for_ever(server):
    def stream(requests, context):
        next(requests)
        context.abort(grpc.StatusCode.UNAVAILABLE, "ouch")
        yield

    server.stream = stream
    with Client(server.address) as client, pytest.raises(UnavailableError, match="ouch"):
        list(client.classify_many(images(5), reconnect_s=10))


def test_an_item_that_the_broken_stream_was_about_to_take_is_not_lost(server):
    """The caller's iterable blocks while the stream breaks."""
    broken, gone_on = threading.Event(), threading.Event()
    streams = []

    def stream(requests, context):
        streams.append(1)
        first = next(requests)
        if len(streams) == 1:
            yield classify_pb2.ClassifyStreamResponse(result=server.result(first))
            broken.set()
            context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
        yield classify_pb2.ClassifyStreamResponse(result=server.result(first))
        for request in requests:
            yield classify_pb2.ClassifyStreamResponse(result=server.result(request))

    def coming():
        yield "first", b"cat"
        assert broken.wait(20)
        assert gone_on.wait(20)
        yield "second", b"cat"
        yield "third", b"cat"

    server.stream = stream
    with Client(server.address) as client:
        plain = client.wait_until_serving

        def wait(*arguments, **options):
            plain(*arguments, **options)
            gone_on.set()

        client.wait_until_serving = wait
        with closing(client.classify_many(coming(), reconnect_s=10)) as outcomes:
            assert [outcome.key for outcome in outcomes] == ["first", "second", "third"]


def test_what_the_items_raise_is_raised(breaking):
    def failing():
        yield from images(30)
        raise OSError("the disk is gone")

    with Client(breaking.address) as client, pytest.raises(OSError, match="the disk is gone"):
        list(client.classify_many(failing(), reconnect_s=10))
