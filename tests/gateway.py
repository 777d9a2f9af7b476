"""The HTTP gateway in this process, on a free port."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from client import AsyncClient
from client.web.app import create_app


@contextmanager
def run_gateway(address: str, timeout_s: float = 5.0) -> Iterator[str]:
    """Serve a gateway to the gRPC server at `address` while the body runs; yields its URL."""
    running: list[uvicorn.Server] = []
    begun = threading.Event()

    async def serve(listener: socket.socket) -> None:
        app = create_app(AsyncClient(address, timeout_s=timeout_s))
        config = uvicorn.Config(app, log_level="warning", access_log=False)
        running.append(uvicorn.Server(config))
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
