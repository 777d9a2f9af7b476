"""The composition root and life cycle: the only place that knows everyone.

Start: listen with health NOT_SERVING, load and warm the models, then SERVING.
Stop: NOT_SERVING, take nothing new, answer what was accepted, exit.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client import start_http_server as start_metrics_server

from models.image_header import ImageLimits
from server.admin import administration
from server.catalog.catalog import Catalog
from server.catalog.entry import State
from server.catalog.servable import EngineOptions
from server.catalog.takeover import CompileOptions, TakeOvers
from server.fronts.forward import forwarding
from server.fronts.port import FrontPort
from server.listener import Listener, StartError
from server.pipeline.admission import QueuePolicy
from server.pipeline.capture import Capture, CapturePolicy
from server.pipeline.compile_cache import CompileCache, default_cache_folder
from server.pipeline.cores import allot, usable_cores
from server.pipeline.decode import DecodePool
from server.pipeline.lanes import Lanes
from server.pipeline.probe import batches_per_s, choose_lanes, known_rates
from server.pipeline.tuning import TuningStore
from server.provision import Provision, provision
from server.rpc import classify, models
from server.rpc.admin import AdminServicer
from server.rpc.answers import CatalogAnswers
from server.rpc.calls import Handlers
from server.rpc.feedback import AnswerMemory, FeedbackServicer
from server.rpc.oip import InferenceAdminServicer, InferenceModelServicer
from server.rpc.record import Recorder, RecordPolicy
from server.settings import Settings
from server.telemetry.host import CgroupCollector, gpu_collector
from server.telemetry.metrics import Metrics
from server.telemetry.request_log import RequestLog
from server.telemetry.triton import TritonCollector

if TYPE_CHECKING:
    from server.telemetry.tracing import Tracing

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Addresses:
    """Where the server listens: HOST:PORT for gRPC, metrics, and administration if there is any."""

    grpc: str
    metrics: str
    admin: str = ""


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
        engine = _engine(settings, metrics, dropped_log_lines, stack)
        catalog = engine.catalog
        listener = Listener(settings, engine.answers, engine.others(), port=settings.port)
        metrics.watch_ready(lambda: catalog.is_ready() and not listener.draining)
        addresses = Addresses(listener.address, _start_metrics(settings, metrics, stack))
        await listener.start()
        stack.push_async_callback(listener.drain, catalog.drain)
        log.info("listening", extra={"fields": asdict(addresses)})
        stop_on_signals(stop, stack)
        await _load(engine.models, stop)
        await stack.enter_async_context(engine.models.kept(listener.health.set))
        admin = await stack.enter_async_context(administration(settings, engine.admin()))
        addresses = replace(addresses, admin=admin)
        log.info("ready", extra={"fields": asdict(addresses)})
        if engine.takeovers is not None:
            await stack.enter_async_context(_in_background(engine.takeovers.run()))
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
        engine = _engine(settings, metrics, dropped_log_lines, stack)
        catalog = engine.catalog
        port = FrontPort(catalog, engine.answers, forwarding(engine.others()))
        metrics.watch_ready(catalog.is_ready)
        addresses = Addresses("", _start_metrics(settings, metrics, stack))
        await port.listen(socket)
        stack.push_async_callback(port.close)
        stack.push_async_callback(catalog.drain)
        stop_on_signals(stop, stack)
        await _load(engine.models, stop)
        await stack.enter_async_context(engine.models.kept(port.set_serving))
        await stack.enter_async_context(administration(settings, engine.admin()))
        if engine.takeovers is not None:
            await stack.enter_async_context(_in_background(engine.takeovers.run()))
        yield addresses


@dataclass(frozen=True)
class _Engine:
    """What computes.

    Attributes:
        models: What changes them.
        catalog: The models.
        answers: What they give.
        memory: Of those answers.
        metrics: Of all.
        takeovers: Of compiled engines from TorchScript, if there are to be any.
    """

    models: Provision
    catalog: Catalog
    answers: CatalogAnswers
    memory: AnswerMemory
    metrics: Metrics
    takeovers: TakeOvers | None

    def admin(self) -> Handlers:
        """The services on the listener for administration."""
        return Handlers(
            AdminServicer(self.models.control, self.catalog).handlers(),
            models.ModelServicer(self.catalog).handlers(),
            InferenceAdminServicer(self.models.control).handlers(),
        )

    def others(self) -> Handlers:
        """The services beside ClassifyService."""
        return Handlers(
            models.ModelServicer(self.catalog).handlers(),
            FeedbackServicer(self.memory).handlers(),
            InferenceModelServicer(
                self.catalog, self.metrics, self.models.settings.max_batch_items
            ).handlers(),
        )


def _engine(
    settings: Settings,
    metrics: Metrics,
    dropped_log_lines: Callable[[], int],
    stack: AsyncExitStack,
) -> _Engine:
    """The models, not loaded yet, and the answers they give."""
    cache = CompileCache(
        settings.compile_cache or default_cache_folder(), checked=settings.compile_cache_check
    )
    decoder, options = _pipeline(settings, TuningStore(cache) if settings.saved_tuning else None)
    stack.callback(decoder.close)
    takeovers = _takeovers(settings, options, metrics, cache)
    provided = provision(settings, decoder, options, metrics, takeovers)
    catalog = provided.catalog
    _watch(settings, metrics, catalog, options)
    metrics.watch_dropped_log_lines(dropped_log_lines)
    requests = RequestLog(settings.log_request_share, settings.slow_request_ms / 1000)
    tracing = _start_tracing(settings, stack)
    capture = _start_capture(settings, metrics, stack)
    memory = AnswerMemory(metrics, capture, settings.feedback_memory)
    recorder = _start_recorder(settings, metrics, stack)
    answers = CatalogAnswers(
        catalog,
        metrics,
        requests,
        tracing,
        settings.default_deadline_s,
        memory,
        provided.shadows,
        recorder,
    )
    return _Engine(provided, catalog, answers, memory, metrics, takeovers)


def _pipeline(settings: Settings, tuning: TuningStore | None) -> tuple[DecodePool, EngineOptions]:
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
        lanes_of=lambda cores: choose_lanes(
            cores, lambda lanes: known_rates(cores, lanes, tuning, batches_per_s)
        ),
    )
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
        tuning=tuning,
        brownout_sides=settings.brownout_sides,
    )
    return DecodePool(allotment.decoders, settings.queue_limit, image_limits(settings)), options


def image_limits(settings: Settings) -> ImageLimits:
    """What an image may cost."""
    return ImageLimits(
        max_pixels=settings.max_image_pixels,
        max_aspect_ratio=settings.max_image_aspect_ratio,
        max_scans=settings.max_jpeg_scans,
        max_frames=settings.max_image_frames,
    )


def _takeovers(
    settings: Settings, options: EngineOptions, metrics: Metrics, cache: CompileCache
) -> TakeOvers | None:
    if settings.engine == "torchscript":
        return None
    compile_options = CompileOptions(
        cache=cache,
        timeout_s=settings.compile_timeout_s,
        must_win=settings.engine == "auto",
    )
    return TakeOvers(compile_options, options, metrics)


@asynccontextmanager
async def _in_background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Cancelled after the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


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


def _watch(
    settings: Settings,
    metrics: Metrics,
    catalog: Catalog,
    options: EngineOptions,
) -> None:
    """Metrics that are read when they are scraped."""
    metrics.watch_depths(catalog.depths)
    metrics.watch_states(State, catalog.states)
    metrics.lanes.set(options.allotment.lanes)
    metrics.queue_limit.set(settings.queue_limit)
    ProcessCollector(registry=metrics.registry)
    PlatformCollector(registry=metrics.registry)
    metrics.registry.register(CgroupCollector())
    gpus = gpu_collector() if options.device.type == "cuda" else None
    if gpus is not None:
        metrics.registry.register(gpus)
    if settings.triton_metrics:
        metrics.registry.register(TritonCollector(metrics, catalog.depths, gpus))


def _start_metrics(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> str:
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


def _start_tracing(settings: Settings, stack: AsyncExitStack) -> "Tracing | None":
    if not settings.otlp_endpoint:
        return None
    try:
        from server.telemetry.tracing import Tracing  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise StartError("otlp_endpoint: traces need the extra 'tracing'") from error
    tracing = Tracing(
        settings.otlp_endpoint, settings.trace_share, classify.SERVICE, version("menagerie")
    )
    stack.push_async_callback(asyncio.to_thread, tracing.close)
    return tracing


def _start_capture(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> Capture | None:
    if settings.capture is None:
        return None
    policy = CapturePolicy(
        settings.capture, settings.capture_per_minute, settings.capture_budget_mib * 2**20
    )
    try:
        capture = Capture(policy, lambda outcome: metrics.captured.labels(outcome).inc())
    except OSError as error:
        raise StartError(f"capture: {settings.capture}: {error.strerror}") from error
    stack.push_async_callback(asyncio.to_thread, capture.close)
    return capture


def _start_recorder(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> Recorder | None:
    if settings.record is None:
        return None
    policy = RecordPolicy(
        settings.record, settings.record_share, settings.record_budget_mib * 2**20
    )
    try:
        recorder = Recorder(policy, lambda outcome: metrics.recorded.labels(outcome).inc())
    except OSError as error:
        raise StartError(f"record: {settings.record}: {error.strerror}") from error
    stack.push_async_callback(asyncio.to_thread, recorder.close)
    return recorder


async def _load(provided: Provision, stop: asyncio.Event) -> None:
    """Load the models, unless a signal comes first.

    Raises:
        StartError: No model could be loaded.
    """
    loading = asyncio.ensure_future(provided.load())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not loading.done():
        loading.cancel()
        return
    await loading
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
