"""ClassifyService."""

from __future__ import annotations  # grpc's handler types are generic in their stubs only

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from google.protobuf.message import Message

from proto.classify.v1 import classify_pb2
from server.errors import (
    DrainingError,
    InvalidRequestError,
    TooManyItemsError,
)
from server.request_ids import new_request_id
from server.rpc import translate
from server.rpc.answers import Answers, Served
from server.rpc.calls import (
    Caller,
    Context,
    caller_of,
    end_with,
    parse,
    serialize,
    unary,
)
from server.rpc.status import status_of
from server.tasks import beside

SERVICE = "classify.v1.ClassifyService"


class ClassifyServicer:
    """Classify, ClassifyStream and ClassifyBatch: one way through for each image.

    Args:
        answers: Where answers come from.
        max_batch_items: Most requests in one ClassifyBatch.
        stream_window: Requests of one stream in work at the same time.
        draining: Set when the server is going away: streams end after what they accepted.
    """

    def __init__(
        self,
        answers: Answers,
        max_batch_items: int,
        stream_window: int,
        draining: asyncio.Event,
    ) -> None:
        self._answers = answers
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
            "Explain": _unary_bytes(self._explain),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _classify(self, data: bytes, context: Context) -> Message | None:
        caller = caller_of(context)
        try:
            request = parse(classify_pb2.ClassifyRequest, data)
        except InvalidRequestError as error:
            served = self._answers.refuse("Classify", "", error)
        else:
            served = await self._answers.serve("Classify", request, caller)
        if isinstance(served.outcome, classify_pb2.ClassifyResponse):
            return served.outcome
        await end_with(context, served.outcome)
        return None

    async def _explain(self, data: bytes, context: Context) -> Message | None:
        caller = caller_of(context)
        try:
            request = parse(classify_pb2.ExplainRequest, data)
        except InvalidRequestError as error:
            served = self._answers.refuse("Explain", "", error)
        else:
            served = await self._answers.serve(
                "Explain", translate.classify_request(request), caller
            )
        if isinstance(served.outcome, classify_pb2.ClassifyResponse):
            return classify_pb2.ExplainResponse(response=served.outcome)
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
            *(self._answers.serve("ClassifyBatch", item, caller) for item in request.requests)
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

        async def read() -> None:
            await window.acquire()  # before a request is taken: no end can come between
            async for data in requests:
                tasks.create_task(answer(data))
                await window.acquire()

        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(read())
            async with beside(_cancel_when(self._draining, reading)):
                await asyncio.wait({reading})
        if self._draining.is_set():
            gone = DrainingError("the server is shutting down; send the rest elsewhere")
            await end_with(context, status_of(gone, new_request_id()))

    async def _stream_item(self, data: bytes, caller: Caller) -> classify_pb2.ClassifyResult:
        try:
            request = parse(classify_pb2.ClassifyStreamRequest, data).request
            if not request.request_id:
                raise InvalidRequestError("request.request_id", "is required in a stream")  # noqa: TRY301
        except InvalidRequestError as error:
            return _result(self._answers.refuse("ClassifyStream", "", error))
        return _result(await self._answers.serve("ClassifyStream", request, caller))


def _unary_bytes(
    method: Callable[[bytes, Context], Awaitable[Message | None]],
) -> grpc.RpcMethodHandler[bytes, Message]:
    return grpc.unary_unary_rpc_method_handler(
        method,
        request_deserializer=None,
        response_serializer=serialize,
    )


def _result(served: Served) -> classify_pb2.ClassifyResult:
    if isinstance(served.outcome, classify_pb2.ClassifyResponse):
        return classify_pb2.ClassifyResult(request_id=served.request_id, response=served.outcome)
    return classify_pb2.ClassifyResult(request_id=served.request_id, error=served.outcome)


async def _cancel_when(stop: asyncio.Event, task: asyncio.Task[None]) -> None:
    await stop.wait()
    task.cancel()
