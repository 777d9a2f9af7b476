"""A listener for probes: the health service alone, without TLS.

Kubernetes' gRPC probes speak no TLS and show no certificate, so a server with TLS is asked here.
What it tells, whether requests are taken, it tells anybody on the serving port, too.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2_grpc

from server.listener import options_of
from server.rpc.health import HealthServicer
from server.settings import Settings
from server.start import StartError


@asynccontextmanager
async def probing(
    settings: Settings, health: HealthServicer, *, reuse_port: bool = False
) -> AsyncIterator[None]:
    """Answer probes inside the block, on the serving port's address; without a port, none.

    Args:
        settings: The operator's.
        health: What is told.
        reuse_port: Whether several processes share the port.

    Raises:
        StartError: The port is taken.
    """
    if settings.probe_port is None:
        yield
        return
    server = grpc.aio.server(options=options_of(settings, reuse_port=reuse_port))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    address = f"{settings.host}:{settings.probe_port}"
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise StartError(f"probe_port: cannot listen on {address}") from error
    await server.start()
    try:
        yield
    finally:
        await server.stop(0.0)
