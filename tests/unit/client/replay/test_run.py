"""The loop is open: requests leave when they are due, whatever became of those before."""

import asyncio
import time

import grpc
import pytest

from client.replay.run import Side, UnreachableError, again, replay
from proto.classify.v1 import classify_pb2, classify_pb2_grpc
from tests.unit.client.replay.test_record import recorded


class Holding(classify_pb2_grpc.ClassifyServiceServicer):
    """Answers none before all have come."""

    def __init__(self, count: int) -> None:
        self.seen: list[classify_pb2.ClassifyRequest] = []
        self._count = count
        self._all = asyncio.Event()

    async def Classify(self, request, _context):
        self.seen.append(request)
        if len(self.seen) == self._count:
            self._all.set()
        await self._all.wait()
        return classify_pb2.ClassifyResponse(model_version=request.model.version)


async def serve(servicer: Holding) -> tuple[grpc.aio.Server, str]:
    server = grpc.aio.server()
    classify_pb2_grpc.add_ClassifyServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


async def test_requests_leave_when_they_are_due_and_not_when_others_were_answered() -> None:
    seconds = [5.0, 5.1, 5.1, 5.6, 6.0]
    requests = [recorded(second, image=b"%f" % second) for second in seconds]
    servicer = Holding(2 * len(requests))
    server, address = await serve(servicer)
    began = time.monotonic()
    done: list[None] = []
    found = await replay(
        requests,
        [Side(address, version="7"), Side(address)],
        speed=4.0,
        timeout_s=60,
        on_done=lambda: done.append(None),
    )
    took_s = time.monotonic() - began
    await server.stop(None)
    assert took_s >= 0.25  # a second at four times the speed
    assert [one.recorded for one in found] == requests
    assert {reply.status for one in found for reply in one.replies} == {"OK"}
    assert [one.replies[0].response.model_version for one in found] == ["7"] * 5
    assert [one.replies[1].response.model_version for one in found] == [""] * 5
    assert all(one.late_s > -0.01 for one in found)
    # The first waited for the last, which was due a quarter of a second later.
    assert found[0].replies[0].latency_s >= 0.25
    assert len(done) == 5


async def test_a_server_that_is_not_there_is_told_by_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("client.replay.run._CONNECT_TIMEOUT_S", 0.2)
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1 took no connection"):
        await replay([recorded(1.0, image=b"x")], [Side("127.0.0.1:1")], 1.0, 5)


def test_what_is_sent_again_is_not_kept_again() -> None:
    request = classify_pb2.ClassifyRequest(request_id="old", may_keep_image=True, top_k=2)
    request.model.name = "pets"
    request.model.version_label = "stable"
    sent = again(request, Side("here"))
    assert (sent.request_id, sent.may_keep_image, sent.top_k) == ("", False, 2)
    assert sent.model.version_label == "stable"
    assert again(request, Side("here", version="3")).model.version == "3"
    assert again(request, Side("here", version="3")).model.name == "pets"
