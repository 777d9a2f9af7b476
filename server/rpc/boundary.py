"""The outermost step of every call of every service: who may pass, and how a call may end.

Whatever leaves a handler leaves through ``rpc.status``: an exception never
reaches the client as it is, and a call whose handler was cancelled from inside
is answered instead of left waiting (grpc.aio would send nothing at all).
"""

from __future__ import annotations  # grpc's handler types are generic in their stubs only

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import grpc
from google.rpc import code_pb2

from server.errors import CallLostError, GraceExpiredError, UnknownMethodError
from server.request_ids import new_request_id
from server.rpc.calls import ClientLeftError, end_with
from server.rpc.status import request_id_of, status_of

log = logging.getLogger(__name__)

# Handlers of every service pass here, so what they take and give is not known.
Behaviour = Callable[[Any, Any], Awaitable[Any] | AsyncIterator[Any]]
_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
_LONGEST_METHOD = 128
_MOST_HANDLERS = 64


class Door(Protocol):
    """Decides who may call what."""

    def enter(self, method: str, context: Any) -> None:  # noqa: ANN401
        """Let the call in, or raise a ServingError."""


class Boundary(grpc.aio.ServerInterceptor):  # type: ignore[type-arg] # generic in its stubs only
    """Around every call. Keeps the calls under way, to end those that outlive a shutdown."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}  # of the first methods
        self._calls: set[asyncio.Task[object]] = set()
        self._expired: set[asyncio.Task[object]] = set()

    @property
    def calls(self) -> int:
        """Calls under way, streams and watches included."""
        return len(self._calls)

    async def intercept_service(
        self,
        continuation: Callable[[Any], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The method's handler with this around it; for an unknown method, one that says so."""
        method = handler_call_details.method
        if (known := self._handlers.get(method)) is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None:
            return grpc.stream_stream_rpc_method_handler(self._guarded(method, _unknown_method))
        kind = next(kind for kind in _KINDS if getattr(handler, kind) is not None)
        behaviour = self._guarded(method, getattr(handler, kind))
        # Handlers are named tuples, which their stubs do not say.
        around = handler._replace(**{kind: behaviour})  # type: ignore[attr-defined]
        if len(self._handlers) < _MOST_HANDLERS:  # a front forwards whatever a caller makes up
            self._handlers[method] = around
        return around  # type: ignore[no-any-return]

    async def expire(self) -> None:
        """End the calls under way with UNAVAILABLE: the shutdown waits no longer."""
        self._expired = set(self._calls)
        for call in self._expired:
            call.cancel()
        if self._expired:
            await asyncio.wait(self._expired)

    def _guarded(self, method: str, behaviour: Behaviour) -> Callable[[Any, Any], Awaitable[Any]]:
        async def guarded(request: Any, context: Any) -> object:  # noqa: ANN401
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - a handler is a task
            self._calls.add(task)
            try:
                self._door.enter(method, context)
                return await _run(behaviour, request, context)
            except (grpc.aio.AbortError, ClientLeftError):
                raise
            except asyncio.CancelledError:
                error = self._meaning_of_cancellation(task)
            except Exception as unmapped:
                error = unmapped
            finally:
                self._calls.discard(task)
            await _end(method, error, context)
            return None

        return guarded

    def _meaning_of_cancellation(self, call: asyncio.Task[object]) -> Exception:
        """Why a call was cancelled, if there is somebody to tell; raises on if there is not."""
        if call in self._expired:
            call.uncancel()
            return GraceExpiredError("the server is shutting down and cannot finish this request")
        if call.cancelling():  # by gRPC: the client has gone, or its deadline has passed
            raise asyncio.CancelledError
        return CallLostError("what computed the answer has gone")


async def _run(behaviour: Behaviour, request: object, context: Any) -> object:  # noqa: ANN401
    answer = behaviour(request, context)
    if not inspect.isasyncgen(answer):
        return await answer  # type: ignore[misc]
    async for message in answer:
        await context.write(message)
    return None


async def _unknown_method(_requests: object, _context: object) -> None:
    raise UnknownMethodError("the method is unknown to this server")


async def _end(method: str, error: Exception, context: Any) -> None:  # noqa: ANN401
    status = status_of(error, new_request_id())
    fields = {
        "method": method[:_LONGEST_METHOD],
        "request_id": request_id_of(status),
        "code": code_pb2.Code.Name(status.code),  # type: ignore[arg-type]
    }
    log.info("refused", extra={"fields": fields})
    await end_with(context, status)
