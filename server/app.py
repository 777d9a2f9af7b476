"""A server's life.

Start: listen with health NOT_SERVING, load and warm the models, then SERVING.
Stop: NOT_SERVING, take nothing new, answer what was accepted, exit.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path

from prometheus_client import CollectorRegistry

from server.admin import administration
from server.composition import Engine, engine_of
from server.fronts.forward import forwarding
from server.fronts.port import FrontPort
from server.heaps import tend_heaps
from server.instruments import start_metrics
from server.listener import Listener
from server.probes import probing
from server.provision import Provision, TellServing
from server.settings import Settings
from server.start import Addresses, StartError
from server.tasks import beside, unless
from server.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


async def serve(
    settings: Settings,
    on_ready: Callable[[Addresses], None] = lambda _addresses: None,
    dropped_log_lines: Callable[[], int] = lambda: 0,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    Args:
        settings: The operator's.
        on_ready: Called once the default model takes requests.
        dropped_log_lines: How many found no reader.

    Raises:
        StartError: No model could be loaded, or a port is taken.
        SettingsError: Settings contradict each other, or a file they name is no good.
        RepositoryError: The repository is not a folder.
    """
    stop = asyncio.Event()
    async with running(settings, stop, dropped_log_lines) as addresses:
        on_ready(addresses)
        await stop.wait()
        log.info("draining")
    log.info("stopped")


@asynccontextmanager
async def running(
    settings: Settings, stop: asyncio.Event, dropped_log_lines: Callable[[], int] = lambda: 0
) -> AsyncIterator[Addresses]:
    """A server that is ready inside the block and has drained after it."""
    metrics = Metrics(CollectorRegistry())
    async with AsyncExitStack() as stack:
        engine = engine_of(settings, metrics, dropped_log_lines, stack)
        catalog = engine.catalog
        listener = Listener(settings, engine.answers, engine.others(), port=settings.port)
        metrics.watch_ready(lambda: catalog.is_ready() and not listener.draining)
        addresses = Addresses(listener.address, start_metrics(settings, metrics, stack))
        await listener.start()
        await stack.enter_async_context(probing(settings, listener.health))
        stack.push_async_callback(listener.drain, catalog.drain)
        log.info("listening", extra={"fields": asdict(addresses)})
        stop_on_signals(stop, stack)
        await _load(engine.models, stop)
        admin = await _keep(engine, settings, listener.health.set, stack)
        addresses = replace(addresses, admin=admin)
        log.info("ready", extra={"fields": asdict(addresses)})
        yield addresses


@asynccontextmanager
async def running_engine(
    settings: Settings,
    socket: Path,
    stop: asyncio.Event,
    dropped_log_lines: Callable[[], int] = lambda: 0,
) -> AsyncIterator[Addresses]:
    """The engine of several fronts, ready inside the block; they have drained before it ends."""
    metrics = Metrics(CollectorRegistry())
    async with AsyncExitStack() as stack:
        engine = engine_of(settings, metrics, dropped_log_lines, stack)
        catalog = engine.catalog
        port = FrontPort(catalog, engine.answers, forwarding(engine.others()))
        metrics.watch_ready(catalog.is_ready)
        addresses = Addresses("", start_metrics(settings, metrics, stack))
        await port.listen(socket)
        stack.push_async_callback(port.close)
        stack.push_async_callback(catalog.drain)
        stop_on_signals(stop, stack)
        await _load(engine.models, stop)
        await _keep(engine, settings, port.set_serving, stack)
        yield addresses


async def _keep(
    engine: Engine, settings: Settings, tell: TellServing, stack: AsyncExitStack
) -> str:
    """What goes on beside the requests until the stack ends: models come and go, heaps are trimmed.

    Returns:
        HOST:PORT for administration; empty where there is none.
    """
    await stack.enter_async_context(beside(tend_heaps()))
    await stack.enter_async_context(engine.models.kept(tell))
    admin = await stack.enter_async_context(administration(settings, engine.admin()))
    if engine.takeovers is not None:
        await stack.enter_async_context(beside(engine.takeovers.run()))
    return admin


async def _load(provided: Provision, stop: asyncio.Event) -> None:
    """Load the models, unless a signal comes first.

    Raises:
        StartError: No model could be loaded.
    """
    if not await unless(stop, provided.load()):
        return
    catalog = provided.catalog
    if not catalog.is_ready() and provided.settings.model_control == "watch":
        reasons = "; ".join(
            f"{entry.name} version {entry.version}: {entry.reason}" for entry in catalog.entries()
        )
        raise StartError(f"repository: no default model to serve ({reasons or 'it is empty'})")


def stop_on_signals(stop: asyncio.Event, stack: AsyncExitStack) -> None:
    """Set ``stop`` on SIGTERM and SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
        stack.callback(loop.remove_signal_handler, number)
