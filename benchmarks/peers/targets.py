"""How the load generator of ``python -m client bench`` calls the peers."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import aiohttp
import grpc

from benchmarks.peers.open_inference import METHOD as INFER
from benchmarks.peers.open_inference import infer_request
from client.bench.sender import OK, Answer, Sender

MODEL = "classifier"  # its name wherever a protocol asks for one
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
    """A gRPC server at `address` that takes photos as bytes or by the Open Inference Protocol."""

    address: str
    protocol: Literal["raw", "open inference"]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Sender]:
        """Return a new connection; see ``client.bench.sender.Target``."""
        async with grpc.aio.insecure_channel(self.address, _OPTIONS) as channel:
            yield _GrpcSender(channel, self.protocol)


class _GrpcSender:
    def __init__(self, channel: grpc.aio.Channel, protocol: str) -> None:
        self._is_raw = protocol == "raw"
        self._call = channel.unary_unary(_RAW if self._is_raw else INFER)

    async def send(self, images: Sequence[bytes], timeout_s: float) -> Sequence[Answer]:
        (photo,) = images
        request = photo if self._is_raw else infer_request(MODEL, photo)
        try:
            await self._call(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            return [Answer(error.code().name)]
        return [Answer(OK)]


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
