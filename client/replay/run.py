"""Sends recorded requests at their own times, faster or slower: an open loop.

A request is sent when it is due, whatever became of those before; its latency counts from then,
so that what a server makes wait is not left out.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import grpc

from client.aio import open_channel
from client.credentials import Credentials
from client.messages import model_spec
from client.replay.record import arrival_s
from proto.classify.v1 import classify_pb2, classify_pb2_grpc, record_pb2

OK = "OK"
_CONNECT_TIMEOUT_S = 10.0
# A retry would hide a refusal, and send more than was recorded.
_OPTIONS = [("grpc.enable_retries", 0)]


@dataclass(frozen=True, slots=True)
class Side:
    """Where requests are sent to.

    Attributes:
        address: HOST:PORT.
        version: Asked for instead of what was recorded; empty: as recorded.
        label: Likewise.
        credentials: TLS and token.
    """

    address: str
    version: str = ""
    label: str = ""
    credentials: Credentials = field(default_factory=Credentials)


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a request on one side.

    Attributes:
        status: The name of a gRPC status code.
        response: The answer; None unless the status is OK.
        latency_s: From when the request was due to the answer, in seconds.
    """

    status: str
    response: classify_pb2.ClassifyResponse | None
    latency_s: float


@dataclass(frozen=True, slots=True)
class Replayed:
    """A recorded request and what became of it now.

    Attributes:
        recorded: The request.
        replies: One for each side.
        late_s: How long after it was due it was sent.
    """

    recorded: record_pb2.RecordedRequest
    replies: tuple[Reply, ...]
    late_s: float


class UnreachableError(Exception):
    """There is no connection to a side; the message says to which."""


async def replay(
    requests: Sequence[record_pb2.RecordedRequest],
    sides: Sequence[Side],
    speed: float,
    timeout_s: float,
    on_done: Callable[[], None] = lambda: None,
) -> list[Replayed]:
    """Send requests, each to every side at the same time.

    Args:
        requests: By arrival, with images.
        sides: One or two.
        speed: 2: in half of the time that they took to come.
        timeout_s: How long to wait for an answer.
        on_done: Called after each request.

    Returns:
        In the order of ``requests``.

    Raises:
        UnreachableError: A side takes no connection.
        CredentialsError: A certificate or key cannot be used.
    """
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(_Caller(side, timeout_s)) for side in sides]
        first_s, begin_s = arrival_s(requests[0]), time.monotonic()

        async def send(one: record_pb2.RecordedRequest) -> Replayed:
            due_s = begin_s + (arrival_s(one) - first_s) / speed
            late_s = time.monotonic() - due_s
            replies = await asyncio.gather(*(caller.send(one, due_s) for caller in callers))
            on_done()
            return Replayed(one, tuple(replies), late_s)

        async with asyncio.TaskGroup() as group:
            tasks = []
            for one in requests:
                due_s = begin_s + (arrival_s(one) - first_s) / speed
                # At least a turn for the others: answers wait while requests are late.
                await asyncio.sleep(max(due_s - time.monotonic(), 0.0))
                tasks.append(group.create_task(send(one)))
        return [task.result() for task in tasks]


class _Caller:
    """A connection to one side."""

    def __init__(self, side: Side, timeout_s: float) -> None:
        self._side = side
        self._timeout_s = timeout_s
        self._credentials = side.credentials.resolved()

    async def __aenter__(self) -> "_Caller":
        self._channel = open_channel(self._side.address, self._credentials, _OPTIONS)
        try:
            await asyncio.wait_for(self._channel.channel_ready(), _CONNECT_TIMEOUT_S)
        except TimeoutError:
            await self._channel.close(None)
            raise UnreachableError(
                f"{self._side.address} took no connection within {_CONNECT_TIMEOUT_S:g} s"
            ) from None
        self._stub = classify_pb2_grpc.ClassifyServiceStub(self._channel)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._channel.close(None)

    async def send(self, recorded: record_pb2.RecordedRequest, due_s: float) -> Reply:
        """Send a request that was due at ``due_s``."""
        request = again(recorded.request, self._side)
        status, response = OK, None
        try:
            response = await self._stub.Classify(
                request, timeout=self._timeout_s, metadata=self._credentials.metadata()
            )
        except grpc.aio.AioRpcError as error:
            status = error.code().name
        return Reply(status, response, time.monotonic() - due_s)


def again(request: classify_pb2.ClassifyRequest, side: Side) -> classify_pb2.ClassifyRequest:
    """The request for a side: not to be kept or recorded with its image once more."""
    found = classify_pb2.ClassifyRequest()
    found.CopyFrom(request)
    found.ClearField("request_id")
    found.ClearField("may_keep_image")
    if side.version or side.label:
        found.model.CopyFrom(model_spec(request.model.name, side.version, side.label))
    return found
