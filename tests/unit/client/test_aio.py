import asyncio
import threading
from contextlib import aclosing
from itertools import chain, count

import grpc
import pytest
from grpc_status import rpc_status

from client import (
    AsyncClient,
    DeadlineExceededError,
    HealthStatus,
    ImageFileError,
    InternalError,
    InvalidArgumentError,
    ServerUnavailableError,
    UnavailableError,
)
from proto.classify.v1 import classify_pb2, model_pb2

WINDOW = 4


def best(outcome):
    return outcome.result().predictions[0].id


def images(number):
    return [(index, b"cat" if index % 2 == 0 else b"dog") for index in range(number)]


class Tagging(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation, details, request):
        return await continuation(tagged(details), request)


class TaggingStreams(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation, details, requests):
        return await continuation(tagged(details), requests)


def tagged(details):
    sent = grpc.aio.Metadata(*(details.metadata or ()), ("x-shop", "berlin"))
    return details._replace(metadata=sent)


async def test_interceptors_see_every_call(server):
    interceptors = [Tagging(), TaggingStreams()]
    async with AsyncClient(server.address, interceptors=interceptors) as client:
        assert (await client.classify(b"cat")).predictions[0].id == "cat"
        many = client.classify_many(images(2), ordered=True)
        assert [best(outcome) async for outcome in many] == ["cat", "dog"]
        with pytest.raises(InvalidArgumentError):
            await client.classify(b"not an image")
    assert len(server.metadata) == 3
    assert all(sent["x-shop"] == "berlin" for sent in server.metadata)


async def test_the_calls_of_one_request(server, tmp_path):
    server.models = [model_pb2.Model(name="pets", version="1")]
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"cat")
    async with AsyncClient(server.address) as client:
        assert (await client.classify(path, top_k=1)).predictions[0].id == "cat"
        assert (await client.models())[0].name == "pets"
        assert (await client.model("pets", version="1")).version == "1"
        assert await client.health() is HealthStatus.SERVING
        assert await client.health("no.such.Service") is HealthStatus.SERVICE_UNKNOWN
        await client.wait_until_serving(timeout_s=30)


async def test_errors(server, nobody, make_status, tmp_path):
    busy = make_status("UNAVAILABLE", "full", reason="QUEUE_FULL")
    async with AsyncClient(server.address) as client:
        with pytest.raises(InvalidArgumentError) as refused:
            await client.classify(b"not an image")
        assert refused.value.field == "image.encoded"
        with pytest.raises(ImageFileError):
            await client.classify(tmp_path / "nope")
        server.call_errors.append(busy)
        assert (await client.classify(b"cat" + bytes(500_000))).model == "pets"
        server.call_errors.append(lambda _: server.released.wait())
        with pytest.raises(DeadlineExceededError):
            await client.classify(b"cat", timeout_s=0.2)
    async with AsyncClient(nobody) as lonely:
        with pytest.raises(ServerUnavailableError):
            await lonely.classify(b"cat")
        with pytest.raises(ServerUnavailableError):
            await lonely.health()
        with pytest.raises(DeadlineExceededError):
            await lonely.wait_until_serving(timeout_s=0.2)


async def test_waiting_for_a_server_that_starts(new_server):
    async with AsyncClient(new_server.address) as client:
        waiting = asyncio.create_task(client.wait_until_serving(timeout_s=30))
        await asyncio.to_thread(new_server.start)
        new_server.set_serving()
        await waiting


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_stream(server, ordered, tmp_path):
    items = [("missing", tmp_path / "nope"), *images(50), ("text", b"not an image")]
    items.insert(20, ("also", tmp_path / "nope"))
    async with AsyncClient(server.address) as client:
        outcomes = client.classify_many(items, window=WINDOW, ordered=ordered)
        found = {o.key: o async for o in outcomes}
    assert set(found) == {key for key, _ in items}
    assert not ordered or list(found) == [key for key, _ in items]
    assert all(best(found[i]) == ("cat" if i % 2 == 0 else "dog") for i in range(50))
    assert isinstance(found["missing"].error, ImageFileError)
    assert isinstance(found["also"].error, ImageFileError)
    assert isinstance(found["text"].error, InvalidArgumentError)


async def test_asynchronous_items_and_their_errors(server):
    async def photos(number, error):
        for item in images(number):
            yield item
        raise error

    async with AsyncClient(server.address) as client:
        for number in (0, 1, 20):
            for error in (LookupError(), TimeoutError(), grpc.RpcError()):
                with pytest.raises(type(error)):
                    async for _ in client.classify_many(photos(number, error), window=WINDOW):
                        pass


async def test_the_window_bounds_what_is_taken_and_sent(server):
    taken = []
    window_is_full = threading.Event()

    def stream(requests, _context):
        first = [next(requests) for _ in range(WINDOW)]
        window_is_full.set()
        server.released.wait()
        for request in chain(first, requests):
            yield classify_pb2.ClassifyStreamResponse(result=server.result(request))

    def endless():
        for index in count():
            taken.append(index)
            yield index, b"cat"

    server.stream = stream
    async with AsyncClient(server.address) as client:
        outcomes = client.classify_many(endless(), window=WINDOW)
        async with aclosing(outcomes):
            first = asyncio.create_task(anext(outcomes))
            assert await asyncio.to_thread(window_is_full.wait, 30)
            assert len(taken) == WINDOW
            server.released.set()
            assert best(await first) == "cat"


async def test_streams_that_fail(server, nobody):
    async with AsyncClient(nobody) as lonely:
        with pytest.raises(ServerUnavailableError):
            _ = [o async for o in lonely.classify_many(images(9))]

    def silent(requests, _context):
        yield classify_pb2.ClassifyStreamResponse(result=server.result(next(requests)))
        server.released.wait()

    def hasty(requests, _context):
        yield classify_pb2.ClassifyStreamResponse(result=server.result(next(requests)))

    async with AsyncClient(server.address, timeout_s=1.0) as client:
        server.stream = silent
        with pytest.raises(DeadlineExceededError):
            _ = [o async for o in client.classify_many(images(9), window=2)]
        server.stream = hasty
        with pytest.raises(InternalError, match="closed the stream"):
            _ = [o async for o in client.classify_many(images(9), window=2)]


@pytest.mark.parametrize("abort", [False, True])
async def test_the_server_ends_the_call_while_items_are_sent(server, make_status, abort):
    """gRPC's own status for the message that failed must not hide the server's."""
    draining = make_status("UNAVAILABLE", "draining", reason="DRAINING")

    def stream(requests, context):
        yield classify_pb2.ClassifyStreamResponse(result=server.result(next(requests)))
        if abort:
            context.abort_with_status(rpc_status.to_status(draining))

    server.stream = stream
    expected = (UnavailableError, "draining") if abort else (InternalError, "closed the stream")
    async with AsyncClient(server.address) as client:
        for _ in range(20):
            endless = ((index, bytes(1000)) for index in count())
            with pytest.raises(expected[0], match=expected[1]):
                _ = [o async for o in client.classify_many(endless, window=64)]


async def test_an_item_without_room_is_sent_once_more(server, make_status):
    full = make_status("UNAVAILABLE", "full", reason="QUEUE_FULL", retry_after_s=0.01)

    def stream(requests, _context):
        for request in requests:
            result = classify_pb2.ClassifyResult(request_id=request.request_id, error=full)
            yield classify_pb2.ClassifyStreamResponse(result=result)

    server.stream = stream
    async with AsyncClient(server.address) as client:
        outcomes = [o async for o in client.classify_many(images(4), ordered=True)]
    assert [best(o) for o in outcomes] == ["cat", "dog", "cat", "dog"]


async def test_cancelling_the_caller_ends_the_call(server):
    begun, ended = threading.Event(), threading.Event()

    def stream(requests, context):
        context.add_callback(ended.set)
        next(requests)
        begun.set()
        server.released.wait()
        yield classify_pb2.ClassifyStreamResponse()

    server.stream = stream
    async with AsyncClient(server.address) as client:

        async def consume():
            async for _ in client.classify_many(images(9)):
                pass

        consumer = asyncio.create_task(consume())
        assert await asyncio.to_thread(begun.wait, 30)
        consumer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer
        assert await asyncio.to_thread(ended.wait, 30)
