"""A network that can be slow, or break: a TCP proxy in front of a server that may move."""

import asyncio
from contextlib import suppress

from tests.integration.http2 import endpoint

_CHUNK = 65_536


class Proxy:
    """Passes bytes on between clients and one server. Belongs to one event loop.

    Attributes:
        address: Where it listens, HOST:PORT.
        target: The server's address, for connections from now on.
        delay_s: How much later bytes arrive, each way, in seconds.
        broken: Whether connections are refused.
    """

    def __init__(self) -> None:
        self.address = ""
        self.target = ""
        self.delay_s = 0.0
        self.broken = False
        self._server: asyncio.Server | None = None
        self._visits: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._visit, "127.0.0.1", 0)
        self.address = "{}:{}".format(*self._server.sockets[0].getsockname())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """End all connections at once, in the middle of whatever they carry."""
        visits = list(self._visits)
        for visit in visits:
            visit.cancel()
        await asyncio.gather(*visits, return_exceptions=True)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._visits.add(task)
        ends = [writer]
        try:
            if not self.broken:
                there, back = await asyncio.open_connection(*endpoint(self.target))
                ends.append(back)
                await self._both_ways((reader, back), (there, writer))
        except (OSError, asyncio.CancelledError):
            pass  # the server is not there, or the network has broken
        finally:
            self._visits.discard(task)
            for end in ends:
                end.transport.abort()

    async def _both_ways(self, *ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        pumps = [asyncio.ensure_future(self._pump(*way)) for way in ways]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
