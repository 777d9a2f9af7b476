"""ClassifyService."""

from __future__ import annotations  # grpc's handler types are generic in their stubs only

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import grpc
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2

from proto.classify.v1 import classify_pb2
from server.catalog.catalog import Catalog
from server.errors import DrainingError, InvalidRequestError, TooManyItemsError
from server.rpc import translate
from server.rpc.calls import (
    Caller,
    Context,
    accept_request_id,
    caller_of,
    end_with,
    parse,
    serialize,
    unary,
)
from server.rpc.status import status_of
from server.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

SERVICE = "classify.v1.ClassifyService"

Outcome = classify_pb2.ClassifyResponse | status_pb2.Status


@dataclass(frozen=True)
class _Served:
    """One request's outcome and the id it carries."""

    request_id: str
    outcome: Outcome


class ClassifyServicer:
    """Classify, ClassifyStream and ClassifyBatch: one way through for each image.

    Args:
        catalog: Which models answer.
        metrics: The server's metrics.
        max_batch_items: Most requests in one ClassifyBatch.
        stream_window: Requests of one stream in work at the same time.
        draining: Set when the server is going away: streams end after what they accepted.
    """

    def __init__(
        self,
        catalog: Catalog,
        metrics: Metrics,
        max_batch_items: int,
        stream_window: int,
        draining: asyncio.Event,
    ) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._max_batch_items = max_batch_items
        self._stream_window = stream_window
        self._draining = draining

    def handlers(self) -> grpc.GenericRpcHandler[bytes, Message]:
        """The service, for ``server.add_generic_rpc_handlers``."""
        stream = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=None,
            response_serializer=serialize,
        )
        methods = {
            "Classify": _unary_bytes(self._classify),
            "ClassifyStream": stream,
            "ClassifyBatch": unary(classify_pb2.ClassifyBatchRequest, self._batch),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _classify(self, data: bytes, context: Context) -> Message | None:
        caller = caller_of(context)
        try:
            request = parse(classify_pb2.ClassifyRequest, data)
        except InvalidRequestError as error:
            served = self._refuse("Classify", "", error)
        else:
            served = await self._serve("Classify", request, caller)
        if isinstance(served.outcome, classify_pb2.ClassifyResponse):
            return served.outcome
        await end_with(context, served.outcome)
        return None

    async def _batch(
        self, request: classify_pb2.ClassifyBatchRequest, context: Context
    ) -> classify_pb2.ClassifyBatchResponse:
        count = len(request.requests)
        if count == 0:
            raise InvalidRequestError("requests", "is empty: at least one is needed")
        if count > self._max_batch_items:
            raise TooManyItemsError(
                f"requests has {count} items; at most {self._max_batch_items} are allowed"
            )
        caller = caller_of(context)
        served = await asyncio.gather(
            *(self._serve("ClassifyBatch", item, caller) for item in request.requests)
        )
        return classify_pb2.ClassifyBatchResponse(results=[_result(item) for item in served])

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        window = asyncio.Semaphore(self._stream_window)
        writing = asyncio.Lock()
        caller = caller_of(context)

        async def answer(data: bytes) -> None:
            try:
                result = await self._stream_item(data, caller)
                async with writing:
                    await context.write(classify_pb2.ClassifyStreamResponse(result=result))
            finally:
                window.release()

        async with asyncio.TaskGroup() as tasks:
            async for data in _until(requests, self._draining):
                await window.acquire()
                tasks.create_task(answer(data))
        if self._draining.is_set():
            gone = DrainingError("the server is shutting down; send the rest elsewhere")
            await end_with(context, status_of(gone, uuid.uuid4().hex))

    async def _stream_item(self, data: bytes, caller: Caller) -> classify_pb2.ClassifyResult:
        try:
            request = parse(classify_pb2.ClassifyStreamRequest, data).request
            if not request.request_id:
                raise InvalidRequestError("request.request_id", "is required in a stream")  # noqa: TRY301
        except InvalidRequestError as error:
            return _result(self._refuse("ClassifyStream", "", error))
        return _result(await self._serve("ClassifyStream", request, caller))

    def _refuse(self, method: str, request_id: str, error: Exception) -> _Served:
        status = status_of(error, request_id or uuid.uuid4().hex)
        self._metrics.requests.labels(method, "", "", code_pb2.Code.Name(status.code)).inc()  # type: ignore[arg-type]
        return _Served(request_id, status)

    async def _serve(
        self, method: str, request: classify_pb2.ClassifyRequest, caller: Caller
    ) -> _Served:
        """Answer one request: never raises but when the call is cancelled."""
        started = time.perf_counter()
        request_id, labels, code = request.request_id, ("", ""), code_pb2.CANCELLED
        outcome: Outcome
        try:
            request_id = accept_request_id(request.request_id)
            servable = self._catalog.servable(translate.selection(request.model))
            labels = (servable.manifest.name, str(servable.manifest.version))
            answer = await servable.classify(
                translate.image_source(request.image),
                translate.top_k(request),
                translate.min_score(request),
                priority=translate.priority(request),
                deadline=caller.deadline,
                client=caller.name,
            )
            total_s = time.perf_counter() - started
            outcome = translate.response(request_id, servable.manifest, answer, total_s)
            code = code_pb2.OK
        except Exception as error:
            outcome = status_of(error, request_id)
            code = code_pb2.Code.ValueType(outcome.code)
        finally:
            self._observe(method, request_id, labels, code, time.perf_counter() - started)
        return _Served(request_id, outcome)

    def _observe(
        self,
        method: str,
        request_id: str,
        labels: tuple[str, str],
        code: code_pb2.Code.ValueType,
        total_s: float,
    ) -> None:
        name = code_pb2.Code.Name(code)
        self._metrics.requests.labels(method, *labels, name).inc()
        if code == code_pb2.OK:
            self._metrics.request_seconds.labels(*labels).observe(total_s)
        if log.isEnabledFor(logging.INFO):
            fields = {
                "method": method,
                "request_id": request_id,
                "model": labels[0],
                "version": labels[1],
                "code": name,
                "total_ms": round(total_s * 1000, 3),
            }
            log.info("request", extra={"fields": fields})


def _unary_bytes(
    method: Callable[[bytes, Context], Awaitable[Message | None]],
) -> grpc.RpcMethodHandler[bytes, Message]:
    return grpc.unary_unary_rpc_method_handler(
        method,
        request_deserializer=None,
        response_serializer=serialize,
    )


def _result(served: _Served) -> classify_pb2.ClassifyResult:
    if isinstance(served.outcome, classify_pb2.ClassifyResponse):
        return classify_pb2.ClassifyResult(request_id=served.request_id, response=served.outcome)
    return classify_pb2.ClassifyResult(request_id=served.request_id, error=served.outcome)


async def _until(items: AsyncIterator[bytes], stop: asyncio.Event) -> AsyncIterator[bytes]:
    """The items as they come, until there are no more or ``stop`` is set."""
    stopped = asyncio.ensure_future(stop.wait())
    try:
        while not stop.is_set():
            item = asyncio.ensure_future(anext(items))
            try:
                await asyncio.wait({item, stopped}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not item.done():
                    item.cancel()
            if not item.done() or item.cancelled():
                return
            try:
                yield item.result()
            except StopAsyncIteration:
                return
    finally:
        stopped.cancel()
