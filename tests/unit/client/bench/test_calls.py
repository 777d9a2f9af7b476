"""The three ways to call a server, against a scripted one."""

import asyncio

import grpc
import pytest
from google.rpc import status_pb2

from client.bench.calls import MenagerieTarget
from client.bench.sender import Answer, TargetError
from client.credentials import Credentials
from client.messages import Query
from proto.classify.v1 import classify_pb2

CAT, BAD = b"cat", b"not an image"
OK = Answer("OK", 4)


def target(server, method):
    return MenagerieTarget(server.address, method, Query(model="pets", priority="bulk"))


@pytest.mark.parametrize("method", ["unary", "batch", "stream"])
async def test_each_image_has_an_answer(server, method):
    async with target(server, method).open() as sender:
        assert await sender.send([CAT], 30) == [OK]
        assert await sender.send([BAD], 30) == [Answer("INVALID_ARGUMENT")]
        assert await sender.send([CAT], 30) == [OK]
    assert [request.image.encoded for request in server.requests] == [CAT, BAD, CAT]
    assert {request.model.name for request in server.requests} == {"pets"}
    assert {request.priority for request in server.requests} == {classify_pb2.PRIORITY_BULK}


@pytest.mark.parametrize("method", ["unary", "batch", "stream"])
async def test_calls_carry_the_token(server, method):
    credentials = Credentials(token="secret-1")  # noqa: S106
    called = MenagerieTarget(server.address, method, Query(), credentials)
    async with called.open() as sender:
        assert await sender.send([CAT], 30) == [OK]
    assert server.metadata[-1]["authorization"] == "Bearer secret-1"


async def test_a_batch_has_an_answer_for_each_image(server):
    async with target(server, "batch").open() as sender:
        assert await sender.send([CAT, BAD, CAT], 30) == [OK, Answer("INVALID_ARGUMENT"), OK]


@pytest.mark.parametrize("method", ["unary", "batch"])
async def test_a_refusal_is_not_sent_again(server, make_status, method):
    server.call_errors.append(make_status("UNAVAILABLE", "busy", retry_after_s=0.01))
    async with target(server, method).open() as sender:
        assert await sender.send([CAT], 30) == [Answer("UNAVAILABLE")]
    assert server.requests == []


async def test_a_failed_batch_fails_all_its_images(server, make_status):
    server.call_errors.append(make_status("RESOURCE_EXHAUSTED", "too many"))
    async with target(server, "batch").open() as sender:
        assert await sender.send([CAT, CAT], 30) == [Answer("RESOURCE_EXHAUSTED")] * 2


@pytest.mark.parametrize("method", ["unary", "batch"])
async def test_no_answer_in_time(server, method):
    server.call_errors.append(lambda _context: server.released.wait())
    async with target(server, method).open() as sender:
        assert await sender.send([CAT], 0.2) == [Answer("DEADLINE_EXCEEDED")]


async def test_a_stream_matches_answers_that_come_in_another_order(server):
    def backwards(requests, _context):
        two = [next(requests), next(requests)]
        for request in reversed(two):
            yield classify_pb2.ClassifyStreamResponse(result=server.result(request))
        for request in requests:
            yield classify_pb2.ClassifyStreamResponse(result=server.result(request))

    server.stream = backwards
    async with target(server, "stream").open() as sender:
        answers = await asyncio.gather(*(sender.send([image], 30) for image in (CAT, BAD, CAT)))
    assert answers == [[OK], [Answer("INVALID_ARGUMENT")], [OK]]


async def test_an_item_without_an_answer_does_not_hold_up_the_stream(server):
    def silent_on_bad(requests, _context):
        for request in requests:
            if request.image.encoded != BAD:
                yield classify_pb2.ClassifyStreamResponse(result=server.result(request))

    server.stream = silent_on_bad
    async with target(server, "stream").open() as sender:
        assert await sender.send([BAD], 0.2) == [Answer("DEADLINE_EXCEEDED")]
        assert await sender.send([CAT], 30) == [OK]


async def test_a_broken_stream_fails_what_is_under_way_and_is_opened_anew(server):
    def breaks(requests, context):
        next(requests), next(requests)
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "enough")

    server.stream = breaks
    async with target(server, "stream").open() as sender:
        answers = await asyncio.gather(sender.send([CAT], 30), sender.send([CAT], 30))
        assert answers == [[Answer("RESOURCE_EXHAUSTED")]] * 2
        server.stream = None
        assert await sender.send([CAT], 30) == [OK]


async def test_a_stream_that_the_server_ends_owes_answers(server):
    def ends(requests, _context):
        next(requests)
        yield from ()

    server.stream = ends
    async with target(server, "stream").open() as sender:
        assert await sender.send([CAT], 30) == [Answer("INTERNAL")]


async def test_a_code_that_does_not_exist_is_unknown(server):
    server.item_errors[BAD] = status_pb2.Status(code=99, message="?")
    async with target(server, "stream").open() as sender:
        assert await sender.send([BAD], 30) == [Answer("UNKNOWN")]


async def test_nobody_listens(nobody, monkeypatch):
    monkeypatch.setattr("client.bench.calls._CONNECT_TIMEOUT_S", 0.2)
    with pytest.raises(TargetError, match=f"{nobody} took no connection within 0.2 s"):
        async with MenagerieTarget(nobody, "unary", Query()).open():
            pass
