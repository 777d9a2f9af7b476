"""Several fronts and an engine, each in a process of its own, kept running by this one.

A front that dies loses only its own calls; while an engine that died starts again, the fronts
answer UNAVAILABLE.
"""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server.fronts.keeper import Keeper
from server.fronts.shared_folder import place, shared_folder
from server.settings import Settings
from server.start import Addresses, StartError

log = logging.getLogger(__name__)


async def supervise(settings: Settings, arguments: Sequence[str]) -> None:
    """Serve until SIGTERM or SIGINT, then let the fronts drain, then the engine, and return.

    Args:
        settings: The operator's.
        arguments: The command line that gave them: the processes read them again.

    Raises:
        StartError: The port is taken.
        NeverReadyError: A process could not start; its log says why.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with shared_folder(place()) as room, _reserved(settings.host, settings.port) as port:
        engine = Keeper("the engine", _command("engine", room, port, 0, arguments))
        fronts = [
            Keeper(f"front {number}", _command("front", room, port, number, arguments))
            for number in range(settings.fronts)
        ]
        await _keep(engine, fronts, f"{settings.host}:{port}", stop)
    log.info("stopped")


async def _keep(
    engine: Keeper, fronts: Sequence[Keeper], address: str, stop: asyncio.Event
) -> None:
    """Run all until ``stop``, or until one of them cannot start."""
    runs = [asyncio.create_task(keeper.run()) for keeper in (engine, *fronts)]
    ready = asyncio.gather(engine.ready, *(front.ready for front in fronts))
    stopping = asyncio.create_task(stop.wait())
    try:
        await _first(ready, stopping, *runs)
        if ready.done():
            addresses = Addresses(address, ready.result()[0]["metrics"])
            log.info("ready", extra={"fields": {**vars(addresses), "fronts": len(fronts)}})
            await _first(stopping, *runs)
        log.info("draining")
    finally:
        ready.cancel()
        stopping.cancel()
        for front in fronts:
            front.stop()
        failed = [*await asyncio.gather(*runs[1:], return_exceptions=True)]
        engine.stop()
        failed += await asyncio.gather(runs[0], return_exceptions=True)
    for error in failed:
        if isinstance(error, Exception):
            raise error


async def _first(*awaited: asyncio.Future[Any]) -> None:
    await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)


def _command(role: str, room: Path, port: int, number: int, arguments: Sequence[str]) -> list[str]:
    part = [role, str(room), str(port), str(number)]
    return [sys.executable, "-m", "server.process", *part, *arguments]


@contextmanager
def _reserved(host: str, port: int) -> Iterator[int]:
    """Hold a port that fronts may share and nobody else has; 0: a free one."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as alone:
            # Fails if another server listens there, even one that would share the port.
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
        with socket.socket(family, kind, protocol) as held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(address)
            yield int(held.getsockname()[1])
    except OSError as error:
        raise StartError(f"port: cannot listen on {host}:{port}: {error.strerror}") from error
