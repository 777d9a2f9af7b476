"""The HTTP gateway in this process, on a free port."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from client.web.app import create_app
from client.web.connection import listener_config
from client.web.upstream import Upstream


@contextmanager
def run_gateway(address: str, timeout_s: float = 5.0, admin: str = "") -> Iterator[str]:
    """Serve a gateway to the gRPC server at `address` while the body runs; yields its URL.

    Its callers may load models where `admin` is the address of the listener for that.
    """
    running: list[uvicorn.Server] = []
    begun = threading.Event()

    async def serve(listener: socket.socket) -> None:
        admin_client = Upstream(admin, timeout_s=timeout_s) if admin else None
        app = create_app(Upstream(address, timeout_s=timeout_s), admin=admin_client)
        running.append(uvicorn.Server(listener_config(app)))
        begun.set()
        await running[0].serve(sockets=[listener])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(serve(listener)))
        thread.start()
        begun.wait()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            running[0].should_exit = True
            thread.join()
