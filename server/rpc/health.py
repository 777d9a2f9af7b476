"""gRPC health checking v1 (grpc/health/v1/health.proto).

Ours, because the library's asyncio servicer forgets all watchers of a service
when one of them leaves, and an open Watch would hold up a shutdown for the
whole grace period.
"""

import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

WatchContext = grpc.aio.ServicerContext[
    health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
]
SERVICE = "grpc.health.v1.Health"
# Whoever asks only whether the process still answers, as an orchestrator that would restart it.
LIVENESS = "liveness"


class HealthServicer(health_pb2_grpc.HealthServicer):
    """One status for all of ``services``: they are ready together or not at all."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._services = {"", *services}
        self._status: int = health_pb2.HealthCheckResponse.NOT_SERVING
        self._changed = asyncio.Condition()
        self._closed = False

    async def set(self, *, serving: bool) -> None:
        """Change the status and tell every watcher; nothing after `close`."""
        states = health_pb2.HealthCheckResponse
        async with self._changed:
            if self._closed:
                return
            self._status = states.SERVING if serving else states.NOT_SERVING
            self._changed.notify_all()

    async def close(self) -> None:
        """NOT_SERVING from now on; watchers are told and their streams end."""
        async with self._changed:
            self._closed = True
            self._status = health_pb2.HealthCheckResponse.NOT_SERVING
            self._changed.notify_all()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: WatchContext
    ) -> health_pb2.HealthCheckResponse:
        """The status now; NOT_FOUND for an unknown service.

        Of ``liveness`` it is always SERVING: a server that loads or drains is not to be restarted.
        """
        if request.service == LIVENESS:
            return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "service is unknown")
        return health_pb2.HealthCheckResponse(status=self._status)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: WatchContext) -> None:
        """The status now and whenever it changes; SERVICE_UNKNOWN for an unknown service."""
        last: int | None = None
        while True:
            status = self._of(request.service)
            if status != last:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                last = status
            async with self._changed:
                # The status first: it may have changed for the last time during the write.
                if self._of(request.service) == last:
                    if self._closed:
                        return
                    await self._changed.wait()

    def _of(self, service: str) -> int:
        if service in self._services:
            return self._status
        return health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
