"""From a request to classify to its outcome, whatever kind of call brought it."""

from __future__ import annotations  # grpc's handler types are generic in their stubs only

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Protocol

from google.rpc import code_pb2, status_pb2

from proto.classify.v1 import classify_pb2
from server.catalog.catalog import Catalog
from server.catalog.classification import Classification
from server.catalog.entry import Selection
from server.catalog.servable import Servable
from server.catalog.shadow import Shadows
from server.errors import (
    CallLostError,
    DeadlineExpiredError,
    DrainingError,
    ModelChangedError,
    NotFoundError,
    NotReadyError,
)
from server.pipeline.decode import ImageSource, PreparedPixels
from server.request_ids import new_request_id
from server.rpc import translate
from server.rpc.calls import Caller, accept_request_id
from server.rpc.feedback import AnswerMemory
from server.rpc.record import Passed, Recorder, image_bytes
from server.rpc.response_cache import Known, ResponseCache, Wishes, wishes_of
from server.rpc.status import status_of
from server.telemetry.current_trace import current_trace
from server.telemetry.metrics import Metrics
from server.telemetry.request_log import RequestLog, RequestRecord

if TYPE_CHECKING:
    from server.telemetry.tracing import Tracing

Outcome = classify_pb2.ClassifyResponse | status_pb2.Status


@dataclass(frozen=True)
class Served:
    """One request's outcome and the id it carries.

    Attributes:
        request_id: The caller's, or ours.
        outcome: What it was answered.
        version: That the request went to; empty where none was found.
    """

    request_id: str
    outcome: Outcome
    version: str = ""


class Answers(Protocol):
    """Where answers come from: the models of this process, or another's."""

    async def serve(
        self, method: str, request: classify_pb2.ClassifyRequest, caller: Caller
    ) -> Served:
        """Answer one request: never raises but when the call is cancelled."""
        ...

    def refuse(self, method: str, request_id: str, error: Exception) -> Served:
        """The status of a request that could not be read."""
        ...


class CatalogAnswers:
    """Answers by the models of this process.

    Args:
        catalog: Which models answer.
        metrics: The server's metrics.
        request_log: Decides which requests get a log line.
        tracing: Decides which are traced; None: none is.
        default_timeout_s: How long a request may take whose caller set no deadline.
        memory: Of the answers, for those who speak of them later.
        shadows: Has versions on trial answer copies.
        recorder: Of requests, to be replayed; None: none is recorded.
        cache: Of answers.
    """

    def __init__(
        self,
        catalog: Catalog,
        metrics: Metrics,
        request_log: RequestLog,
        tracing: Tracing | None,
        default_timeout_s: float,
        memory: AnswerMemory,
        shadows: Shadows,
        recorder: Recorder | None,
        cache: ResponseCache,
    ) -> None:
        self._cache = cache
        self._shadows = shadows
        self._recorder = recorder
        self._memory = memory
        self._catalog = catalog
        self._metrics = metrics
        self._in_flight = 0
        metrics.in_flight.set_function(lambda: self._in_flight)
        self._request_log = request_log
        self._tracing = tracing
        self._default_timeout_s = default_timeout_s

    def refuse(self, method: str, request_id: str, error: Exception) -> Served:
        """The status of a request that could not be read."""
        named = request_id or new_request_id()
        status = status_of(error, named)
        self.count_refused(method, named, status)
        return Served(request_id, status)

    def count_refused(self, method: str, request_id: str, status: status_pb2.Status) -> None:
        """Count a request that could not be read."""
        code = code_pb2.Code.Name(status.code)  # type: ignore[arg-type]
        self._observe(RequestRecord(method, request_id, "", "", code, 0.0))

    async def serve(
        self,
        method: str,
        request: classify_pb2.ClassifyRequest,
        caller: Caller,
        source: ImageSource | None = None,
        met: str = "",
    ) -> Served:
        """Answer one request: never raises but when the call is cancelled.

        Args:
            method: That brought it.
            request: The request.
            caller: Whose it is.
            source: Its image, where that is not in the request.
            met: The version that it met when it came before, without its pixels or with others:
                it goes there again as long as that takes requests.
        """
        started = time.perf_counter()
        # A name that is refused stands in the answer, to match it, and nowhere else.
        request_id, labels, code = "", ("", ""), code_pb2.CANCELLED
        outcome: Outcome = status_pb2.Status(code=code)
        answer: Classification | None = None
        trace = self._tracing.begin(method, caller.trace_headers) if self._tracing else None
        current_trace.set(trace)
        self._in_flight += 1
        try:
            request_id = accept_request_id(request.request_id)
            servable = self._servable(request, met)
            labels = (servable.manifest.name, str(servable.manifest.version))
            found = await self._answer_within(servable, method, request, caller, source)
            total_s = time.perf_counter() - started
            if isinstance(found, Known):
                outcome = translate.known_response(request_id, found.response, total_s)
            else:
                answer = found
                outcome = translate.response(
                    request_id, servable.manifest, servable.digest, answer, total_s
                )
            self._memory.note(request, outcome)
            code = code_pb2.OK
        except (Exception, asyncio.CancelledError) as error:
            request_id = request_id or new_request_id()
            outcome = status_of(told(error), request_id)
            code = code_pb2.Code.ValueType(outcome.code)
        finally:
            self._in_flight -= 1
            total_s = time.perf_counter() - started
            name = code_pb2.Code.Name(code)
            trace_id = trace.trace_id if trace else ""
            record = RequestRecord(method, request_id, *labels, name, total_s, answer, trace_id)
            if not _comes_again(source):
                self._observe(record)
                if trace is not None:
                    trace.end(record)
                if self._recorder is not None:
                    self._recorder.note(request_id, _passed(request, outcome, source, record))
        return Served(request.request_id or request_id, outcome, labels[1])

    def admit(
        self,
        method: str,
        request: classify_pb2.ClassifyRequest,
        caller: Caller,
        before: int,
        before_s: float,
    ) -> status_pb2.Status | None:
        """Why a request cannot be answered, before anybody has looked at its image.

        What is refused is counted; of what is not, nothing is kept.

        Args:
            method: That brought it.
            request: The request; it needs no image.
            caller: Whose it is.
            before: Images that are decoded first.
            before_s: Seconds until its own would be decoded.

        Returns:
            The refusal; None: go on.
        """
        started = time.perf_counter()
        request_id, labels = "", ("", "")
        try:
            request_id = accept_request_id(request.request_id)
            selection = translate.selection(request.model, request.routing_key)
            servable = self._catalog.servable(selection, in_turn=False)
            labels = (servable.manifest.name, str(servable.manifest.version))
            priority = translate.priority(request)
            servable.admit(priority, caller.deadline, caller.name, before, before_s)
        except Exception as error:
            request_id = request_id or new_request_id()
            status = status_of(error, request_id)
            code = code_pb2.Code.Name(status.code)  # type: ignore[arg-type]
            total_s = time.perf_counter() - started
            self._observe(RequestRecord(method, request_id, *labels, code, total_s))
            return status
        return None

    def _servable(self, request: classify_pb2.ClassifyRequest, met: str) -> Servable:
        selection = translate.selection(request.model, request.routing_key)
        if met:
            with suppress(NotFoundError, NotReadyError, DrainingError):  # it has left meanwhile
                return self._catalog.servable(Selection(selection.name, met))
        return self._catalog.servable(selection, in_turn=not met)

    async def _answer_within(
        self,
        servable: Servable,
        method: str,
        request: classify_pb2.ClassifyRequest,
        caller: Caller,
        source: ImageSource | None,
    ) -> Classification | Known:
        """Answer before the caller's deadline, or the server's own where there is none.

        gRPC itself ends the calls of callers with a deadline.
        """
        deadline, ours = caller.deadline, None
        if deadline == inf:
            deadline = ours = asyncio.get_running_loop().time() + self._default_timeout_s
        image = source or translate.image_source(request.image)
        wishes = wishes_of(method, request)
        compute = partial(self._classify, servable, wishes, caller.name, image, deadline)
        try:
            with caller.quota.image():
                answer = self._cache.answer(servable, wishes, image, deadline, compute)
                if ours is None:
                    return await answer
                async with asyncio.timeout_at(ours):
                    return await answer
        except ModelChangedError:
            if _comes_again(image):
                caller.quota.uncount()
            raise
        except TimeoutError as error:
            raise DeadlineExpiredError(
                f"no answer within {self._default_timeout_s:g} s, this server's limit for"
                " requests without a deadline"
            ) from error

    async def _classify(
        self,
        servable: Servable,
        wishes: Wishes,
        client: str,
        source: ImageSource,
        deadline: float,
    ) -> Classification:
        answer = await servable.classify(
            source,
            wishes.top_k,
            wishes.min_score,
            explain=wishes.explain,
            coverage=wishes.coverage,
            quality=wishes.quality,
            priority=wishes.priority,
            deadline=deadline,
            client=client,
        )
        self._shadows.offer(servable, source, wishes.quality, answer)
        return answer

    def _observe(self, record: RequestRecord) -> None:
        self._metrics.backlog.add(
            self._metrics.answered,
            *(record.method, record.model, record.version, record.code),
            *(record.total_s, record.trace_id),
        )
        self._request_log.write(record)


def _comes_again(source: ImageSource | None) -> bool:
    """Whether a front is about to decode an image for another input, or for the first time."""
    return isinstance(source, PreparedPixels) and source.wanted is not None


def _passed(
    request: classify_pb2.ClassifyRequest,
    outcome: Outcome,
    source: ImageSource | None,
    record: RequestRecord,
) -> Passed:
    # What was decoded elsewhere came before it came here.
    total_s = record.total_s + (source.spent_s if source else 0.0)
    return Passed(
        method=record.method,
        request=request,
        outcome=outcome,
        image_bytes=source.size if source else image_bytes(request),
        arrived_s=time.time() - total_s,
        total_s=total_s,
    )


def told(error: BaseException) -> Exception:
    """What to tell the caller; raises on if the caller itself has gone."""
    if isinstance(error, Exception):
        return error
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise error
    return CallLostError("what computed the answer has gone")
