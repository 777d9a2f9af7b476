"""ASGI middleware that ends the work for callers who have left."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class EndsWithCaller:
    """Cancels what is done for an upload when its caller goes away.

    The call to the server is cancelled with it, so that an image for which nobody waits leaves
    the server's queue.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        read = asyncio.Event()

        async def noted() -> Message:
            message = await receive()
            if not message.get("more_body", False):
                read.set()
            return message

        work = asyncio.ensure_future(self._app(scope, noted, send))
        watch = asyncio.create_task(_left(read, receive))
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
        finally:
            watch.cancel()
            work.cancel()
            await asyncio.gather(watch, work, return_exceptions=True)


async def _left(read: asyncio.Event, receive: Receive) -> None:
    await read.wait()
    while (await receive())["type"] != "http.disconnect":
        pass
