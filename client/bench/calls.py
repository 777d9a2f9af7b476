"""Menagerie's own calls: one image, several in one call, or one after the other on a stream."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

import grpc
from google.rpc import code_pb2

from client.aio import open_channel
from client.bench.sender import OK, Answer, Sender, TargetError
from client.credentials import Credentials
from client.messages import Query, with_image
from proto.classify.v1 import classify_pb2, classify_pb2_grpc

Method = Literal["unary", "batch", "stream"]
Metadata = tuple[tuple[str, str], ...] | None

_CODE_NAMES: dict[int, str] = {number: name for name, number in code_pb2.Code.items()}
_CONNECT_TIMEOUT_S = 10.0
# A retry would hide a refusal.
_OPTIONS = [("grpc.enable_retries", 0)]


@dataclass(frozen=True, slots=True)
class MenagerieTarget:
    """A Menagerie server at `address`, HOST:PORT, called by `method`."""

    address: str
    method: Method
    query: Query
    credentials: Credentials = field(default_factory=Credentials)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Sender]:
        """Return a new connection; see ``Target``. A token is read once for each."""
        credentials = self.credentials.resolved()
        async with open_channel(self.address, credentials, _OPTIONS) as channel:
            try:
                await asyncio.wait_for(channel.channel_ready(), _CONNECT_TIMEOUT_S)
            except TimeoutError:
                message = f"{self.address} took no connection within {_CONNECT_TIMEOUT_S:g} s"
                raise TargetError(message) from None
            stub = classify_pb2_grpc.ClassifyServiceStub(channel)
            template, metadata = self.query.request(), credentials.metadata()
            match self.method:
                case "unary":
                    yield UnarySender(stub, template, metadata)
                case "batch":
                    yield BatchSender(stub, template, metadata)
                case "stream":
                    async with _closing(StreamSender(stub, template, metadata)) as sender:
                        yield sender


class _Caller:
    """Knows whom to call, what every request says beside its image, and as whom."""

    def __init__(
        self,
        stub: "classify_pb2_grpc.ClassifyServiceAsyncStub",
        template: classify_pb2.ClassifyRequest,
        metadata: Metadata,
    ) -> None:
        self._stub = stub
        self._template = template
        self._metadata = metadata


class UnarySender(_Caller):
    """A call of its own for the image."""

    async def send(self, images: Sequence[bytes], timeout_s: float) -> Sequence[Answer]:
        """Send one image; see ``Sender``."""
        (image,) = images
        try:
            response = await self._stub.Classify(
                with_image(self._template, image, ""),
                timeout=timeout_s,
                metadata=self._metadata,
            )
        except grpc.aio.AioRpcError as error:
            return [Answer(error.code().name)]
        return [Answer(OK, response.timings.batch_size)]


class BatchSender(_Caller):
    """One ClassifyBatch call for all images."""

    async def send(self, images: Sequence[bytes], timeout_s: float) -> Sequence[Answer]:
        """Send the images; see ``Sender``."""
        requests = [with_image(self._template, image, "") for image in images]
        batch = classify_pb2.ClassifyBatchRequest(requests=requests)
        try:
            response = await self._stub.ClassifyBatch(
                batch, timeout=timeout_s, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            return [Answer(error.code().name)] * len(images)
        answers = [_answer(result) for result in response.results]
        missing = [Answer("INTERNAL")] * len(images)  # fewer results than images
        return (answers + missing)[: len(images)]


class StreamSender(_Caller):
    """The images on one ClassifyStream; a stream that broke is opened anew."""

    def __init__(
        self,
        stub: "classify_pb2_grpc.ClassifyServiceAsyncStub",
        template: classify_pb2.ClassifyRequest,
        metadata: Metadata,
    ) -> None:
        super().__init__(stub, template, metadata)
        self._stream: _Stream | None = None
        self._ids = count()

    async def send(self, images: Sequence[bytes], timeout_s: float) -> Sequence[Answer]:
        """Send one image; see ``Sender``."""
        (image,) = images
        if self._stream is None or self._stream.broken:
            self._stream = _Stream(self._stub, self._metadata)
        request = with_image(self._template, image, str(next(self._ids)))
        return [await self._stream.answer(request, timeout_s)]

    async def close(self) -> None:
        """End the stream; what is under way on it is cancelled."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()


@asynccontextmanager
async def _closing(sender: StreamSender) -> AsyncIterator[StreamSender]:
    try:
        yield sender
    finally:
        await sender.close()


class _Stream:
    """One ClassifyStream call. A task writes, since whoever is cancelled while he writes
    cancels the call; another reads and hands each answer to whom it belongs."""

    def __init__(
        self, stub: "classify_pb2_grpc.ClassifyServiceAsyncStub", metadata: Metadata
    ) -> None:
        self.broken = False
        self._call = stub.ClassifyStream(None, metadata=metadata)
        self._outbox: asyncio.Queue[classify_pb2.ClassifyRequest] = asyncio.Queue()
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._writer = asyncio.create_task(self._write())
        self._reader = asyncio.create_task(self._read())

    async def answer(self, request: classify_pb2.ClassifyRequest, timeout_s: float) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[request.request_id] = answer
        self._outbox.put_nowait(request)
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            return Answer("DEADLINE_EXCEEDED")
        finally:
            self._waiting.pop(request.request_id, None)

    async def close(self) -> None:
        self._call.cancel()
        self._writer.cancel()
        self._reader.cancel()
        await asyncio.gather(self._writer, self._reader, return_exceptions=True)

    async def _write(self) -> None:
        with suppress(grpc.RpcError, asyncio.InvalidStateError):  # the reader tells why
            while True:
                request = await self._outbox.get()
                if request.request_id in self._waiting:
                    await self._call.write(classify_pb2.ClassifyStreamRequest(request=request))

    async def _read(self) -> None:
        status = "INTERNAL"  # the server ended the stream and owes answers
        try:
            async for response in self._call:
                waiting = self._waiting.pop(response.result.request_id, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(_answer(response.result))
        except grpc.aio.AioRpcError as error:
            status = error.code().name
        finally:
            self.broken = True
            self._writer.cancel()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_result(Answer(status))


def _answer(result: classify_pb2.ClassifyResult) -> Answer:
    if result.WhichOneof("outcome") == "response":
        return Answer(OK, result.response.timings.batch_size)
    return Answer(_CODE_NAMES.get(result.error.code, "UNKNOWN"))
