"""The listener for administration: never the port that serves requests, loopback by default."""

from __future__ import annotations  # grpc's handler types are generic in their stubs only

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from google.protobuf.message import Message

from server.doors import credentials_of, door
from server.listener import bind, options_of
from server.rpc.boundary import Boundary
from server.settings import Settings

_GRACE_S = 1.0


@asynccontextmanager
async def administration(
    settings: Settings, handlers: grpc.GenericRpcHandler[bytes, Message]
) -> AsyncIterator[str]:
    """Take administrators' calls inside the block.

    Yields:
        HOST:PORT; empty where there is no such listener.

    Raises:
        StartError: The port is taken.
        SettingsError: Settings contradict each other, or a file they name is no good.
    """
    if settings.admin_port is None:
        yield ""
        return
    host = settings.admin_host
    boundary = Boundary(door(settings, host))
    credentials = credentials_of(settings, host, "admin_host")
    server = grpc.aio.server(interceptors=(boundary,), options=options_of(settings))
    server.add_generic_rpc_handlers((handlers,))
    port = bind(server, f"{host}:{settings.admin_port}", credentials, "admin_port")
    await server.start()
    try:
        yield f"{host}:{port}"
    finally:
        await server.stop(_GRACE_S)
