"""How an asyncio stream really ended.

A message that cannot be sent, because the server has just ended the call, makes gRPC's asyncio
side set a status of its own, INTERNAL. It may come before the server's status and hide it, or
after and overwrite it (https://github.com/grpc/grpc/issues/36066). gRPC tells its done
callbacks each time, so that one of them can keep the server's.
"""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import grpc

T = TypeVar("T")
RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

_FAILED_WRITE = (grpc.StatusCode.INTERNAL, "Internal error from Core")
# The server's status is already on its way when a write fails.
_LONGEST_WAIT_S = 1.0


class Ending:
    """Listens to a call from its start."""

    def __init__(self, call: "grpc.aio.StreamStreamCall[RequestT, ResponseT]") -> None:
        self._heard: asyncio.Future[grpc.aio.AioRpcError] = (
            asyncio.get_running_loop().create_future()
        )

        def listen(_: object) -> None:
            status = _status(call)
            if not self._heard.done() and not _is_failed_write(status):
                self._heard.set_result(status)

        call.add_done_callback(listen)

    async def error(self, raised: grpc.RpcError) -> grpc.RpcError | None:
        """Return the server's status in place of what the call raised; None if it was OK."""
        if not _is_failed_write(raised):
            return raised
        try:
            async with asyncio.timeout(_LONGEST_WAIT_S):
                status = await asyncio.shield(self._heard)
        except TimeoutError:
            return raised
        return None if status.code() is grpc.StatusCode.OK else status


def _status(call: "grpc.aio.StreamStreamCall[RequestT, ResponseT]") -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        _result(call.code()),
        _result(call.initial_metadata()),
        _result(call.trailing_metadata()),
        _result(call.details()),
        None,
    )


def _result(coroutine: Coroutine[object, None, T]) -> T:
    """Return the result of a coroutine that has nothing to wait for: the call is over."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    raise RuntimeError("the call is not over")


def _is_failed_write(error: grpc.RpcError) -> bool:
    return (error.code(), error.details()) == _FAILED_WRITE
