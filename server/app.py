"""The composition root and life cycle: the only place that knows everyone.

Start: listen with health NOT_SERVING, load and warm the models, then SERVING.
Stop: NOT_SERVING, take nothing new, answer what was accepted, exit.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from math import inf

import grpc
import torch
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client import start_http_server as start_metrics_server

from models.image_header import ImageLimits
from models.repository import ModelRepository
from server.catalog.catalog import Catalog
from server.catalog.servable import EngineOptions
from server.pipeline.admission import QueuePolicy
from server.pipeline.cores import allot, usable_cores
from server.pipeline.decode import DecodePool
from server.pipeline.lanes import Lanes
from server.rpc import classify, health, models
from server.settings import Settings
from server.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_SERVICES = (classify.SERVICE, models.SERVICE)


class StartError(Exception):
    """The server cannot start; the message says what to mend."""


@dataclass(frozen=True)
class Addresses:
    """Where the server listens: HOST:PORT for gRPC, and for metrics."""

    grpc: str
    metrics: str


async def serve(
    settings: Settings, on_ready: Callable[[Addresses], None] = lambda _addresses: None
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    Args:
        settings: The operator's.
        on_ready: Called once the default model takes requests.

    Raises:
        StartError: No model could be loaded, or a port is taken.
        RepositoryError: The repository is not a folder.
    """
    stop = asyncio.Event()
    async with running(settings, stop) as addresses:
        on_ready(addresses)
        await stop.wait()
        log.info("draining")
    log.info("stopped")


@asynccontextmanager
async def running(settings: Settings, stop: asyncio.Event) -> AsyncIterator[Addresses]:
    """A server that is ready inside the block and has drained after it."""
    metrics = Metrics(CollectorRegistry())
    draining = asyncio.Event()
    async with AsyncExitStack() as stack:
        decoder, options = _pipeline(settings)
        stack.callback(decoder.close)
        repository = ModelRepository(settings.repository)
        catalog = Catalog(repository, settings.default_model, decoder, options, metrics)
        metrics.watch_depths(catalog.depths)
        metrics_address = _start_metrics(settings, metrics, stack)
        checks = health.HealthServicer(_SERVICES)
        server, grpc_address = _listen(settings, catalog, metrics, checks, draining)
        await server.start()
        stack.push_async_callback(_drain, settings, server, checks, catalog, draining)
        log.info("listening", extra={"fields": {"grpc": grpc_address, "metrics": metrics_address}})
        _stop_on_signals(stop, stack)
        await _load(catalog, stop)
        await checks.set(serving=catalog.is_ready())
        log.info("ready", extra={"fields": {"grpc": grpc_address, "metrics": metrics_address}})
        yield Addresses(grpc_address, metrics_address)


def _pipeline(settings: Settings) -> tuple[DecodePool, EngineOptions]:
    has_cuda = torch.cuda.is_available()
    if settings.device == "cuda" and not has_cuda:
        raise StartError("device: cuda was asked for and there is none")
    name = "cuda" if has_cuda and settings.device != "cpu" else "cpu"
    allotment = allot(
        usable_cores(),
        accelerator=name == "cuda",
        lanes=settings.lanes,
        threads=settings.threads_per_lane,
        decoders=settings.decode_workers,
    )
    limits = ImageLimits(max_pixels=settings.max_image_pixels)
    options = EngineOptions(
        device=torch.device(name),
        precision=settings.precision,
        max_batch_size=settings.max_batch_size,
        max_queue_delay_s=settings.max_queue_delay_ms / 1000,
        queue_limit=settings.queue_limit,
        policies=_policies(settings),
        slo_p99_s=settings.slo_p99_ms / 1000 if settings.slo_p99_ms else inf,
        allotment=allotment,
        lanes=Lanes(allotment.lanes),
    )
    return DecodePool(allotment.decoders, settings.queue_limit, limits), options


def _policies(settings: Settings) -> dict[int, QueuePolicy]:
    """What each priority may do, by its number."""
    by_urgency = settings.queue_policies
    return {
        priority: QueuePolicy(
            limit=policy.limit or inf,
            timeout_s=policy.timeout_ms / 1000 if policy.timeout_ms else inf,
        )
        for priority, policy in enumerate(
            (by_urgency.interactive, by_urgency.normal, by_urgency.bulk)
        )
    }


def _start_metrics(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> str:
    ProcessCollector(registry=metrics.registry)
    PlatformCollector(registry=metrics.registry)
    try:
        server, thread = start_metrics_server(
            settings.metrics_port, settings.metrics_host, metrics.registry
        )
    except OSError as error:
        raise StartError(
            f"metrics_port: cannot listen on {settings.metrics_host}:{settings.metrics_port}:"
            f" {error.strerror}"
        ) from error

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    stack.callback(close)
    return f"{settings.metrics_host}:{server.server_port}"


def _listen(
    settings: Settings,
    catalog: Catalog,
    metrics: Metrics,
    checks: health.HealthServicer,
    draining: asyncio.Event,
) -> tuple[grpc.aio.Server, str]:
    options = [
        # Two servers on one port would share its calls silently.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
    ]
    server = grpc.aio.server(options=options)
    classifier = classify.ClassifyServicer(
        catalog, metrics, settings.max_batch_items, settings.stream_window, draining
    )
    describer = models.ModelServicer(catalog)
    server.add_generic_rpc_handlers((classifier.handlers(), describer.handlers()))
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    if settings.reflection:
        names = (*_SERVICES, health.SERVICE, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
    address = f"{settings.host}:{settings.port}"
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise StartError(f"port: cannot listen on {address}; is another server there?") from error
    return server, f"{settings.host}:{port}"


async def _load(catalog: Catalog, stop: asyncio.Event) -> None:
    """Load the models, unless a signal comes first.

    Raises:
        StartError: No model could be loaded.
    """
    loading = asyncio.ensure_future(catalog.load())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not loading.done():
        loading.cancel()
        return
    await loading
    if not catalog.is_ready():
        reasons = "; ".join(
            f"{entry.name} version {entry.version}: {entry.reason}" for entry in catalog.entries()
        )
        raise StartError(f"repository: no default model to serve ({reasons or 'it is empty'})")


def _stop_on_signals(stop: asyncio.Event, stack: AsyncExitStack) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
        stack.callback(loop.remove_signal_handler, number)


async def _drain(
    settings: Settings,
    server: grpc.aio.Server,
    checks: health.HealthServicer,
    catalog: Catalog,
    draining: asyncio.Event,
) -> None:
    """Stop in this order, so that no accepted call is lost.

    Connections close last: gRPC cancels calls that reach a stopping server before a
    handler has them, so for a moment handlers refuse them with UNAVAILABLE instead.
    """
    ends_at = asyncio.get_running_loop().time() + settings.grace_period_s
    await checks.close()
    draining.set()
    try:
        async with asyncio.timeout_at(ends_at):
            await catalog.drain()
            await asyncio.sleep(settings.lame_duck_s)
    except TimeoutError:
        log.warning("the grace period ended before all accepted requests were answered")
    await server.stop(max(0.0, ends_at - asyncio.get_running_loop().time()))
