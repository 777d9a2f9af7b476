"""Whatever a handler does, the call ends, and with a status of the catalogue."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from server.errors import PermissionDeniedError, QueueFullError
from server.rpc.boundary import Boundary

METHOD = "/test.Service/Method"


class Open:
    """A door that lets everybody in."""

    def enter(self, method: str, context: object) -> None:
        pass


class Shut:
    """A door that lets nobody in."""

    def enter(self, method: str, context: object) -> None:  # noqa: ARG002
        raise PermissionDeniedError("nobody may")


@asynccontextmanager
async def serving(boundary: Boundary, handler: grpc.RpcMethodHandler) -> AsyncIterator:
    server = grpc.aio.server(interceptors=(boundary,), options=[("grpc.so_reuseport", 0)])
    generic = grpc.method_handlers_generic_handler("test.Service", {"Method": handler})
    server.add_generic_rpc_handlers((generic,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


async def refusal(call: Callable) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call()
    return refused.value


def reason(error: grpc.aio.AioRpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    metadata = dict(error.trailing_metadata())
    status = rpc_status.status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.metadata["request_id"] == metadata["menagerie-request-id"] != ""
    return info.reason


async def unary(handler: Callable, door: object = None) -> grpc.aio.AioRpcError:
    boundary = Boundary(door or Open())
    async with serving(boundary, grpc.unary_unary_rpc_method_handler(handler)) as channel:
        error = await refusal(lambda: channel.unary_unary(METHOD)(b"", timeout=20))
    assert boundary.calls == 0
    return error


async def test_an_exception_keeps_its_text_to_itself() -> None:
    async def fail(_request: bytes, _context: object) -> bytes:
        raise RuntimeError("/etc/secret")

    error = await unary(fail)
    assert (error.code(), reason(error)) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in f"{error.details()}{error.trailing_metadata()}"


async def test_a_handler_that_is_cancelled_from_inside_answers() -> None:
    async def lose(_request: bytes, _context: object) -> bytes:
        lost = asyncio.get_running_loop().create_future()
        lost.cancel()
        return await lost

    error = await unary(lose)
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "CALL_LOST")


async def test_unavailable_tells_grpcs_own_retries_when_to_come_back() -> None:
    async def full(_request: bytes, _context: object) -> bytes:
        raise QueueFullError("full", 0.25)

    error = await unary(full)
    assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "250"


async def test_the_door_is_asked_before_the_handler() -> None:
    async def never(_request: bytes, _context: object) -> bytes:
        pytest.fail("the handler was reached")

    error = await unary(never, Shut())
    assert reason(error) == "PERMISSION_DENIED"


async def test_an_unknown_method_is_told_in_the_same_words() -> None:
    async with serving(Boundary(Open()), grpc.unary_unary_rpc_method_handler(None)) as channel:
        for method in ("/test.Service/Other", "/other.Service/Method"):
            error = await refusal(lambda method=method: channel.unary_unary(method)(b""))
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED
            assert reason(error) == "UNKNOWN_METHOD"


async def test_a_generator_is_served_as_before_and_its_end_is_mapped() -> None:
    async def count(_request: bytes, _context: object) -> AsyncIterator[bytes]:
        yield b"1"
        yield b"2"
        raise ValueError("inside")

    handler = grpc.unary_stream_rpc_method_handler(count)
    async with serving(Boundary(Open()), handler) as channel:
        call = channel.unary_stream(METHOD)(b"", timeout=20)
        assert [await call.read(), await call.read()] == [b"1", b"2"]
        assert reason(await refusal(call.read)) == "INTERNAL"


async def test_what_outlives_the_grace_period_is_told_so() -> None:
    began = asyncio.Event()

    async def endless(_request: bytes, _context: object) -> bytes:
        began.set()
        await asyncio.Event().wait()
        return b""

    boundary = Boundary(Open())
    async with serving(boundary, grpc.unary_unary_rpc_method_handler(endless)) as channel:
        call = channel.unary_unary(METHOD)(b"", timeout=20)
        waiting = asyncio.ensure_future(refusal(lambda: call))
        await began.wait()
        assert boundary.calls == 1
        await boundary.expire()
        error = await waiting
        assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "GRACE_EXPIRED")
        assert boundary.calls == 0


async def test_a_client_that_leaves_is_forgotten() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def endless(_request: bytes, _context: object) -> bytes:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    boundary = Boundary(Open())
    async with serving(boundary, grpc.unary_unary_rpc_method_handler(endless)) as channel:
        call = channel.unary_unary(METHOD)(b"")
        await began.wait()
        call.cancel()
        await asyncio.wait_for(ended.wait(), 20)
        await asyncio.sleep(0)
        assert boundary.calls == 0


class Anything(grpc.GenericRpcHandler):
    """Forwards whatever method a caller makes up, as a front does."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        name = handler_call_details.method.encode()

        async def answer(_request: bytes, _context: object) -> bytes:
            return name

        return grpc.unary_unary_rpc_method_handler(answer)


async def test_each_method_keeps_its_handler_and_made_up_ones_are_not_all_kept() -> None:
    boundary = Boundary(Open())
    server = grpc.aio.server(interceptors=(boundary,), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Anything(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    methods = [f"/test.Service/{number}" for number in range(200)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for _twice in range(2):
            answers = await asyncio.gather(*(channel.unary_unary(name)(b"") for name in methods))
            assert [answer.decode() for answer in answers] == methods
    await server.stop(None)
    assert len(boundary._handlers) < 100
