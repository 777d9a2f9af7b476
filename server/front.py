"""A front's life: take calls, decode, have the engine answer, drain."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from server.app import stop_on_signals
from server.composition import image_limits
from server.fronts.forward import ForwardHandler
from server.fronts.frames import Frame, Kind
from server.fronts.link import EngineLink
from server.fronts.remote import RemoteAnswers
from server.fronts.slots import Slots
from server.heaps import tend_heaps
from server.listener import Listener
from server.pipeline.cores import usable_cores
from server.pipeline.decode import DecodePool
from server.probes import probing
from server.rpc import feedback, models, oip
from server.settings import Settings
from server.tasks import beside, unless

log = logging.getLogger(__name__)

# An image that finds no slot, or none large enough, goes through the socket instead.
_SLOTS = 128
_SLOT_BYTES = 3 * 384 * 384


@asynccontextmanager
async def running_front(
    settings: Settings, socket: Path, slots: Path, port: int, stop: asyncio.Event
) -> AsyncIterator[None]:
    """A front that has an engine that serves inside the block, and has drained after it.

    Args:
        settings: The operator's.
        socket: The engine's.
        slots: The file to make for pixels.
        port: The port that all fronts share.
        stop: Set when it is to end.

    Raises:
        StartError: The port is taken.
        SettingsError: Settings contradict each other, or a file they name is no good.
    """
    async with AsyncExitStack() as stack:
        memory = Slots(slots, _SLOTS, _SLOT_BYTES)
        workers = settings.decode_workers or max(1, usable_cores() // settings.fronts)
        decoder = DecodePool(workers, settings.queue_limit, image_limits(settings))
        stack.callback(decoder.close)
        served = asyncio.Event()
        tell = _Teller()
        hello = Frame(Kind.HELLO, 0, (str(slots).encode(), str(memory.size).encode()))
        link = EngineLink(socket, hello, lambda serving: tell(listener, served, serving))
        keeps_images = settings.capture is not None or settings.record is not None
        asks_first = settings.response_cache_mb > 0
        answers = RemoteAnswers(
            link, memory, decoder, keeps_images=keeps_images, asks_first=asks_first
        )
        others = ForwardHandler(link, (models.SERVICE, feedback.SERVICE, oip.SERVICE))
        listener = Listener(settings, answers, others, port=port, reuse_port=True)
        await listener.start()
        await stack.enter_async_context(probing(settings, listener.health, reuse_port=True))
        await stack.enter_async_context(beside(link.run()))
        await stack.enter_async_context(beside(tend_heaps()))
        stack.push_async_callback(listener.drain, answers.drain)
        stop_on_signals(stop, stack)
        await unless(stop, served.wait())
        yield


class _Teller:
    """Passes the engine's state on to the health service."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, listener: Listener, served: asyncio.Event, serving: bool) -> None:
        task = asyncio.get_running_loop().create_task(listener.health.set(serving=serving))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if serving:
            served.set()
