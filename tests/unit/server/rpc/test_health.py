"""What watchers of the health service are told, and in which order."""

import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.rpc.health import HealthServicer

States = health_pb2.HealthCheckResponse


class SlowReader(grpc.aio.ServerInterceptor):
    """Holds every Watch inside its first write until told to go on."""

    def __init__(self) -> None:
        self.writing = asyncio.Event()
        self.go_on = asyncio.Event()

    async def intercept_service(self, continuation, details):  # type: ignore[no-untyped-def]
        handler = await continuation(details)

        async def watch(request, context):  # type: ignore[no-untyped-def]
            await handler.unary_stream(request, _Held(context, self))

        return grpc.unary_stream_rpc_method_handler(
            watch, handler.request_deserializer, handler.response_serializer
        )


class _Held:
    def __init__(self, context, reader: SlowReader) -> None:  # type: ignore[no-untyped-def]
        self._context = context
        self._reader = reader

    async def write(self, message: health_pb2.HealthCheckResponse) -> None:
        await self._context.write(message)
        self._reader.writing.set()
        await self._reader.go_on.wait()


async def test_a_watcher_that_is_still_being_told_hears_of_the_close_too() -> None:
    reader = SlowReader()
    server = grpc.aio.server(interceptors=(reader,))
    health = HealthServicer(("a.Service",))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await health.set(serving=True)
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service="a.Service"), timeout=30
        )
        assert (await watch.read()).status == States.SERVING
        await reader.writing.wait()
        await health.close()
        reader.go_on.set()
        assert (await watch.read()).status == States.NOT_SERVING
        assert await watch.read() is grpc.aio.EOF
    await server.stop(None)


async def test_a_watcher_of_an_unknown_service_ends_with_the_close() -> None:
    server = grpc.aio.server()
    health = HealthServicer(())
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service="another.Service"), timeout=30
        )
        assert (await watch.read()).status == States.SERVICE_UNKNOWN
        await health.close()
        assert await watch.read() is grpc.aio.EOF
    await server.stop(None)
