"""Calls of the methods that a front has no part in, carried to the engine as they came."""

from __future__ import annotations  # grpc's handler types are generic in their stubs only

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2

from server.errors import UnknownMethodError
from server.fronts.frames import Kind
from server.rpc.calls import Context, end_with

if TYPE_CHECKING:
    from server.fronts.link import EngineLink
    from server.fronts.port import Forward


class ForwardHandler(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in its stubs only
    """At a front: sends every unary call of some services to the engine.

    Args:
        link: To the engine.
        services: Their full names.
    """

    def __init__(self, link: EngineLink, services: tuple[str, ...]) -> None:
        self._link = link
        self._services = services

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """gRPC asks who handles a method."""
        method = handler_call_details.method
        if method.split("/")[1] not in self._services:
            return None

        async def forward(data: bytes, context: Context) -> bytes | None:
            frame = await self._link.ask(Kind.CALL, method.encode(), data)
            if frame.kind is Kind.ANSWER:
                return frame.blobs[0]
            status = status_pb2.Status.FromString(frame.blobs[0])
            await end_with(context, status)
            return None

        return grpc.unary_unary_rpc_method_handler(forward)


def forwarding(handlers: grpc.GenericRpcHandler[bytes, Message]) -> Forward:
    """At the engine: the answer of ``handlers`` to a call that a front has sent on."""

    async def forward(method: str, data: bytes) -> Message:
        handler = handlers.service(_Details(method))
        if handler is None or handler.unary_unary is None:
            raise UnknownMethodError("the method is unknown to this server")
        # The stubs know synchronous handlers only, and no context is needed here.
        answer = cast("Callable[[bytes, None], Awaitable[Message]]", handler.unary_unary)
        return await answer(data, None)

    return forward


class _Details(grpc.HandlerCallDetails):
    """Which method is called."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.invocation_metadata = ()
