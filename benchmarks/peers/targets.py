"""How the load generator of ``python -m client bench`` calls the peers."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Literal

import aiohttp
import grpc

from benchmarks.peers.open_inference import METHOD as INFER
from benchmarks.peers.open_inference import STREAM_METHOD, infer_request, stream_answer
from client.bench.sender import OK, Answer, Sender

MODELS = ("classifier", "second")  # their names wherever a protocol asks for one
_RAW = "/peer.Classifier/Classify"
_OPTIONS = [
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", 32 * 2**20),
    ("grpc.use_local_subchannel_pool", 1),
]
# From an HTTP status to the gRPC status that means the same.
_HTTP = {400: "INVALID_ARGUMENT", 429: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}


@dataclass(frozen=True, slots=True)
class GrpcTarget:
    """A gRPC server at `address` that takes photos as bytes or by the Open Inference Protocol.

    The latter has names of models, and takes several photos in a call; Triton takes one after the
    other on a `stream`, too.
    """

    address: str
    protocol: Literal["raw", "open inference"]
    model: str = MODELS[0]
    stream: bool = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Sender]:
        """Return a new connection; see ``client.bench.sender.Target``."""
        async with grpc.aio.insecure_channel(self.address, _OPTIONS) as channel:
            if self.stream:
                sender = _StreamSender(channel, self.model)
                yield sender
                await sender.close()
                return
            yield _GrpcSender(channel, "" if self.protocol == "raw" else self.model)


class _GrpcSender:
    """Sends photos as they are where there is no `model` to name."""

    def __init__(self, channel: grpc.aio.Channel, model: str) -> None:
        self._model = model
        self._call = channel.unary_unary(INFER if model else _RAW)

    async def send(self, images: Sequence[bytes], timeout_s: float) -> Sequence[Answer]:
        try:
            await self._call(self._request(images), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            return [Answer(error.code().name)] * len(images)
        return [Answer(OK)] * len(images)

    def _request(self, images: Sequence[bytes]) -> bytes:
        if self._model:
            return infer_request(self._model, images)
        (photo,) = images
        return photo


class _StreamSender:
    """Sends photos on one stream; a task reads the answers and hands each to whom it belongs."""

    def __init__(self, channel: grpc.aio.Channel, model: str) -> None:
        self._model = model
        self._call = channel.stream_stream(STREAM_METHOD)()
        self._ids = count(1)
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self._writing = asyncio.Lock()  # one message at a time
        self._reader = asyncio.create_task(self._read())

    async def send(self, images: Sequence[bytes], timeout_s: float) -> Sequence[Answer]:
        (photo,) = images
        name = str(next(self._ids))
        self._waiting[name] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                async with self._writing:
                    await self._call.write(infer_request(self._model, [photo], name))
                return [Answer(await self._waiting[name])]
        except TimeoutError:
            return [Answer("DEADLINE_EXCEEDED")]
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return [Answer("UNAVAILABLE")]
        finally:
            del self._waiting[name]

    async def close(self) -> None:
        self._call.cancel()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        async for response in self._call:
            name, error = stream_answer(response)
            if name in self._waiting:
                self._waiting[name].set_result("INTERNAL" if error else OK)


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """An HTTP server that takes photos by POST: as the body, or as base64 within JSON.

    Attributes:
        url: Where to.
        field: The field of the JSON object; empty: the photo is the body.
        listed: Whether the field holds a list with the photo.
    """

    url: str
    field: str = ""
    listed: bool = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Sender]:
        """Return a new pool of connections; see ``client.bench.sender.Target``."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield _HttpSender(session, self)


class _HttpSender:
    def __init__(self, session: aiohttp.ClientSession, target: HttpTarget) -> None:
        self._session = session
        self._target = target
        kind = "application/json" if target.field else "application/octet-stream"
        self._headers = {"Content-Type": kind}

    async def send(self, images: Sequence[bytes], timeout_s: float) -> Sequence[Answer]:
        (photo,) = images
        try:
            async with asyncio.timeout(timeout_s), self._post(photo) as response:
                await response.read()
                status = OK if response.ok else _HTTP.get(response.status, "INTERNAL")
        except TimeoutError:
            status = "DEADLINE_EXCEEDED"
        except aiohttp.ClientError:
            status = "UNAVAILABLE"
        return [Answer(status)]

    def _post(self, photo: bytes) -> "aiohttp.client._RequestContextManager":
        return self._session.post(self._target.url, data=self._body(photo), headers=self._headers)

    def _body(self, photo: bytes) -> bytes:
        if not self._target.field:
            return photo
        text = base64.b64encode(photo).decode("ascii")
        value = [text] if self._target.listed else text
        return json.dumps({self._target.field: value}).encode("ascii")
