"""Where fronts arrive at the engine: their requests are answered as those of this process are."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from math import isnan
from pathlib import Path

import torch
from google.protobuf.message import Message
from google.rpc import status_pb2

from models.image_statistics import ImageStatistics
from proto.classify.v1 import classify_pb2, common_pb2
from server.access.quotas import Limits, Quotas
from server.catalog.catalog import Catalog
from server.errors import CallLostError, InvalidRequestError, ServingError
from server.fronts import callers
from server.fronts.frames import Frame, FrameProtocol, Kind
from server.fronts.remote import DECODING, IMAGE, INLINE, NOWHERE
from server.fronts.slots import SlotView
from server.pipeline.decode import PreparedPixels
from server.rpc import translate
from server.rpc.answers import CatalogAnswers, told
from server.rpc.status import status_of

log = logging.getLogger(__name__)

Forward = Callable[[str, bytes], Coroutine[None, None, Message]]


class FrontPort:
    """Listens for fronts.

    Args:
        catalog: Which models answer.
        answers: Of this process.
        forward: Answers calls of other methods, by the method's full name and the message.
    """

    def __init__(self, catalog: Catalog, answers: CatalogAnswers, forward: Forward) -> None:
        self._catalog = catalog
        self._answers = answers
        self._forward = forward
        self._quotas = Quotas(Limits(), time.monotonic)
        self._serving = False
        self._visits: set[_Visit] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, path: Path) -> None:
        """Take fronts at a socket of this name."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._arrive, str(path))

    async def set_serving(self, *, serving: bool) -> None:
        """Tell all fronts whether there are answers."""
        self._serving = serving
        for visit in self._visits:
            visit.tell_state(serving)

    async def close(self) -> None:
        """Take no more fronts and leave those that are there."""
        if self._server is not None:
            self._server.close()
        for visit in list(self._visits):
            visit.leave()

    def _arrive(self) -> FrameProtocol:
        visit = _Visit(self._catalog, self._answers, self._forward, self._quotas)
        visit.protocol = FrameProtocol(partial(self._received, visit), partial(self._gone, visit))
        self._visits.add(visit)
        return visit.protocol

    def _received(self, visit: "_Visit", frame: Frame) -> None:
        visit.received(frame)
        if frame.kind is Kind.HELLO:
            visit.tell_state(self._serving)

    def _gone(self, visit: "_Visit") -> None:
        self._visits.discard(visit)
        visit.end()


class _Visit:
    """One front while it is connected."""

    protocol: FrameProtocol

    def __init__(
        self, catalog: Catalog, answers: CatalogAnswers, forward: Forward, quotas: Quotas
    ) -> None:
        self._catalog = catalog
        self._answers = answers
        self._forward = forward
        self._quotas = quotas
        self._slots: SlotView | None = None
        self._calls: dict[int, asyncio.Task[None]] = {}

    def received(self, frame: Frame) -> None:
        """Do what a frame asks for."""
        match frame.kind:
            case Kind.HELLO:
                path, size = frame.blobs
                self._slots = SlotView(Path(path.decode()), int(size))
            case Kind.CLASSIFY:
                self._start(frame, self._classify(frame))
            case Kind.CALL:
                self._start(frame, self._call(frame))
            case Kind.ADMIT:
                self._admit(frame)
            case Kind.SPEC:
                self._send(frame, Kind.SPEC, *self._spec(frame.blobs[0]))
            case Kind.CANCEL:
                if frame.call in self._calls:
                    self._calls[frame.call].cancel()
            case Kind.REFUSED:
                method, request_id, status = frame.blobs
                self._answers.count_refused(
                    method.decode(), request_id.decode(), status_pb2.Status.FromString(status)
                )
            case _:
                log.error("a front sent a frame that is not for the engine: %s", frame.kind.name)

    def tell_state(self, serving: bool) -> None:
        """Tell whether there are answers."""
        self.protocol.send(Frame(Kind.STATE, 0, (bytes([serving]),)))

    def leave(self) -> None:
        """Hang up."""
        self.protocol.close()

    def end(self) -> None:
        """The front has gone: nobody waits for its calls."""
        for task in list(self._calls.values()):
            task.cancel()

    def _start(self, frame: Frame, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._calls[frame.call] = task
        task.add_done_callback(partial(self._ended, frame))

    def _ended(self, frame: Frame, task: asyncio.Task[None]) -> None:
        del self._calls[frame.call]
        # The front waits for an end even of what it cancelled: then the slot is free.
        if task.cancelled():
            gone = CallLostError("what computed the answer has gone")
            self._send(frame, Kind.STATUS, status_of(gone, "").SerializeToString())
        elif (error := task.exception()) is not None and isinstance(error, Exception):
            self._send(frame, Kind.STATUS, status_of(error, "").SerializeToString())

    def _send(self, frame: Frame, kind: Kind, *blobs: bytes) -> None:
        self.protocol.send(Frame(kind, frame.call, blobs))

    def _admit(self, frame: Frame) -> None:
        method, caller, message, depth = frame.blobs
        request = classify_pb2.ClassifyRequest.FromString(message)
        who = callers.unpack(caller, self._quotas)
        refused = self._answers.admit(method.decode(), request, who, *DECODING.unpack(depth))
        if refused is None:
            self._send(frame, Kind.ANSWER)
        else:
            self._send(frame, Kind.STATUS, refused.SerializeToString())

    async def _classify(self, frame: Frame) -> None:
        method, caller, message, met, about, *rest = frame.blobs
        source = self._image(about, rest)
        request = classify_pb2.ClassifyRequest.FromString(message)
        who = callers.unpack(caller, self._quotas)
        served = await self._answers.serve(method.decode(), request, who, source, met.decode())
        if source.wanted is not None:
            spec = source.wanted.model_dump_json().encode()
            self._send(frame, Kind.STALE, spec, served.version.encode())
        elif isinstance(served.outcome, classify_pb2.ClassifyResponse):
            self._send(frame, Kind.ANSWER, served.outcome.SerializeToString())
        else:
            self._send(frame, Kind.STATUS, served.outcome.SerializeToString())

    async def _call(self, frame: Frame) -> None:
        method, message = frame.blobs
        try:
            answer = await self._forward(method.decode(), message)
        except (Exception, asyncio.CancelledError) as error:
            status = status_of(told(error), "")
            self._send(frame, Kind.STATUS, status.SerializeToString())
        else:
            self._send(frame, Kind.ANSWER, answer.SerializeToString())

    def _spec(self, model: bytes) -> tuple[bytes, ...]:
        """The input of a model that can answer now; nothing if there is none.

        To ask takes no request's turn at the canary.
        """
        try:
            selection = translate.selection(common_pb2.ModelSpec.FromString(model))
            spec = self._catalog.servable(selection, in_turn=False).manifest.input
        except ServingError:
            return ()
        return (spec.model_dump_json().encode(),)

    def _image(self, about: bytes, rest: list[bytes]) -> PreparedPixels:
        slot, height, width, size, spent_s, content, rule, *measured = IMAGE.unpack(about)
        content = content if any(content) else b""
        statistics = None if isnan(measured[0]) else ImageStatistics(*measured)
        if slot == NOWHERE:
            refused = InvalidRequestError(*(part.decode() for part in rest)) if rest else None
            return PreparedPixels(None, refused, size, spent_s, content=content)
        if slot == INLINE:
            flat = torch.frombuffer(bytearray(rest[0]), dtype=torch.uint8)
            pixels = flat.view(3, height, width)
        elif self._slots is None:
            raise ValueError("a slot before HELLO")
        else:
            pixels = self._slots.pixels(slot, height, width)
        return PreparedPixels(pixels, None, size, spent_s, statistics, content, rule)
