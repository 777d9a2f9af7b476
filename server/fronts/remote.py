"""Answers from the engine's process: decode here, compute there."""

import asyncio
import struct
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import partial
from math import inf, nan

from google.rpc import code_pb2, status_pb2

from models.image_statistics import ImageStatistics
from models.manifest import InputSpec
from proto.classify.v1 import classify_pb2
from server.errors import DrainingError, InvalidRequestError, ModelChangedError
from server.fronts import callers
from server.fronts.frames import Frame, Kind
from server.fronts.link import EngineLink
from server.fronts.slots import Slots
from server.pipeline.content import CONTENT_BYTES, content_of
from server.pipeline.decode import (
    RULE_BYTES,
    DecodePool,
    ImageSource,
    MeasuredImage,
    measuring,
    rule_of,
)
from server.pipeline.thinning import Thinning
from server.request_ids import new_request_id
from server.rpc import translate
from server.rpc.answers import Served, told
from server.rpc.calls import Caller
from server.rpc.status import request_id_of, status_of

# What became of the image: slot (-1: it comes with the frame; -2: there is none), height, width,
# bytes that came, seconds of decoding, its content (NUL: not known), how its pixels were made, and
# the fields of its ImageStatistics (not a number: it was not measured).
IMAGE = struct.Struct(f"<iIIId{CONTENT_BYTES}s{RULE_BYTES}s4d")
INLINE, NOWHERE = -1, -2
_NOTHING = ImageStatistics(nan, nan, nan, nan)

# What is decoded before an image: how many, and how many seconds until it is decoded itself.
DECODING = struct.Struct("<Id")

_MOST_TRIES = 3  # of decoding for a model whose input changes
_MOST_NAMED = 1000  # ways to name a model of which anything is kept
# After the engine has had no time for a request, this long others are decoded only once it has
# said that they can still be answered. To ask costs a message each way, so nobody asks in peace.
_WARY_S = 1.0
_NO_TIME = (code_pb2.UNAVAILABLE, code_pb2.DEADLINE_EXCEEDED)


class RemoteAnswers:
    """Answers that the engine computes from images that are decoded here.

    Args:
        link: To the engine.
        slots: For pixels.
        decoder: Of this process.
        keeps_images: Whether the engine may keep the files of senders who allow it: those then
            go along with their pixels.
        clock: In seconds.
        asks_first: Whether the engine keeps answers: an image is decoded only once the engine has
            said that it does not know it.
    """

    def __init__(
        self,
        link: EngineLink,
        slots: Slots,
        decoder: DecodePool,
        *,
        keeps_images: bool = False,
        asks_first: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._asks_first = asks_first
        self._clock = clock
        self._wary_until = -inf
        self._link = link
        self._slots = slots
        self._decoder = decoder
        self._keeps_images = keeps_images
        self._models: dict[bytes, _Model] = {}
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    async def serve(
        self, method: str, request: classify_pb2.ClassifyRequest, caller: Caller
    ) -> Served:
        """Answer one request: never raises but when the call is cancelled."""
        started = time.perf_counter()
        self._active += 1
        self._idle.clear()
        try:
            outcome = await self._answer(method, request, caller)
        except (Exception, asyncio.CancelledError) as error:
            outcome = status_of(told(error), request.request_id or new_request_id())
        finally:
            self._active -= 1
            if self._active == 0:
                self._idle.set()
        if isinstance(outcome, classify_pb2.ClassifyResponse):
            outcome.timings.total_us = round((time.perf_counter() - started) * 1e6)
            return Served(outcome.request_id, outcome)
        return Served(request.request_id or request_id_of(outcome), outcome)

    def refuse(self, method: str, request_id: str, error: Exception) -> Served:
        """The status of a request that could not be read; the engine counts it."""
        named = request_id or new_request_id()
        status = status_of(error, named)
        self._link.tell(Kind.REFUSED, method.encode(), named.encode(), status.SerializeToString())
        return Served(request_id, status)

    async def drain(self) -> None:
        """Refuse new requests and return when all accepted ones are answered."""
        self._draining = True
        await self._idle.wait()

    async def _answer(
        self, method: str, request: classify_pb2.ClassifyRequest, caller: Caller
    ) -> classify_pb2.ClassifyResponse | status_pb2.Status:
        if self._draining:
            raise DrainingError("the server is shutting down and takes no new requests")
        source = _source(request)
        if not (self._keeps_images and request.may_keep_image):
            request.ClearField("image")
        head = (method.encode(), callers.pack(caller))
        message, met = request.SerializeToString(), b""
        model = request.model.SerializeToString()
        content = b""
        if self._asks_first and not isinstance(source, InvalidRequestError):
            content = await content_of(source)  # to ask for the answer is to ask for admission
        wanted = None if content else await self._model(model)
        if not content and self._clock() < self._wary_until:
            frame = await self._link.ask(Kind.ADMIT, *head, *self._inquiry(request))
            if frame.kind is Kind.STATUS:
                return self._refusal(frame)
        for _ in range(_MOST_TRIES):
            package = await self._package(source, content, wanted, caller.deadline)
            frame = await self._link.ask(
                Kind.CLASSIFY,
                *head,
                message,
                met,
                *package.blobs,
                done=package.done,
            )
            if frame.kind is not Kind.STALE:
                break
            wanted = self._learn(model, frame.blobs[0])
            met = frame.blobs[1]  # it has had its turn at the canary
        else:
            raise ModelChangedError("the model has changed again and again")
        if frame.kind is Kind.ANSWER:
            return classify_pb2.ClassifyResponse.FromString(frame.blobs[0])
        return self._refusal(frame)

    def _inquiry(self, request: classify_pb2.ClassifyRequest) -> tuple[bytes, bytes]:
        """The request without its image, and what is decoded before it."""
        bare = classify_pb2.ClassifyRequest()
        bare.CopyFrom(request)
        bare.ClearField("image")
        depth = DECODING.pack(self._decoder.depth, self._decoder.expected_s)
        return bare.SerializeToString(), depth

    def _refusal(self, frame: Frame) -> status_pb2.Status:
        status = status_pb2.Status.FromString(frame.blobs[0])
        if status.code in _NO_TIME:
            self._wary_until = self._clock() + _WARY_S
        return status

    async def _model(self, model: bytes) -> "_Model | None":
        """What is known of the model that a request names; None: the engine says what is wrong."""
        known = self._models.get(model)
        if known is None:
            frame = await self._link.ask(Kind.SPEC, model)
            if frame.blobs:
                known = self._learn(model, frame.blobs[0])
        return known

    def _learn(self, model: bytes, spec: bytes) -> "_Model":
        before = self._models.get(model)
        if before is None and len(self._models) >= _MOST_NAMED:
            self._models.clear()  # callers have many ways to name one
        measured = before.measured if before else measuring()
        known = self._models[model] = _Model(InputSpec.model_validate_json(spec), measured)
        return known

    async def _package(
        self,
        source: ImageSource | InvalidRequestError,
        content: bytes,
        model: "_Model | None",
        deadline: float,
    ) -> "_Package":
        """The image, decoded for ``model``, or why there is none."""
        started = time.perf_counter()
        if isinstance(source, InvalidRequestError):
            return _refused(source, content, 0, 0.0)
        if model is None:
            return _Package((_about(NOWHERE, (0, 0), source.size, 0.0, content),))
        measured = MeasuredImage(source, model.measured)
        try:
            pixels = await self._decoder.decode(measured, model.spec, deadline)
        except InvalidRequestError as error:
            return _refused(error, content, source.size, time.perf_counter() - started)
        spent_s = time.perf_counter() - started
        slot = self._slots.put(pixels)
        about = _about(
            INLINE if slot is None else slot,
            (pixels.shape[1], pixels.shape[2]),
            source.size,
            spent_s,
            content,
            rule_of(model.spec),
            measured.statistics or _NOTHING,
        )
        if slot is None:
            return _Package((about, pixels.numpy().tobytes()))
        return _Package((about,), partial(self._slots.give_back, slot))


@dataclass(frozen=True)
class _Model:
    """What is known of a model as requests name it.

    Attributes:
        spec: Its input.
        measured: Which of its images are.
    """

    spec: InputSpec
    measured: Thinning


@dataclass(frozen=True)
class _Package:
    """What stands for an image in a frame.

    Attributes:
        blobs: For the frame.
        done: To be called when the engine has let go of it.
    """

    blobs: tuple[bytes, ...]
    done: Callable[[], None] = lambda: None


def _refused(error: InvalidRequestError, content: bytes, size: int, spent_s: float) -> _Package:
    about = _about(NOWHERE, (0, 0), size, spent_s, content)
    return _Package((about, error.field.encode(), error.problem.encode()))


def _source(request: classify_pb2.ClassifyRequest) -> ImageSource | InvalidRequestError:
    try:
        return translate.image_source(request.image)
    except InvalidRequestError as error:  # the engine may have more to object to, and first
        return error


def _about(
    slot: int,
    shape: tuple[int, int],
    size: int,
    spent_s: float,
    content: bytes,
    rule: bytes = b"",
    statistics: ImageStatistics = _NOTHING,
) -> bytes:
    return IMAGE.pack(slot, *shape, size, spent_s, content, rule, *astuple(statistics))
