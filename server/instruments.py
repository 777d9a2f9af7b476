"""What a server is watched with: metrics, traces, captured answers and recorded requests."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client import start_http_server as start_metrics_server

from models.errors import StoreError
from server.catalog.catalog import Catalog
from server.catalog.entry import State
from server.catalog.options import EngineOptions
from server.pipeline.capture import Capture, CapturePolicy
from server.rpc import classify
from server.rpc.record import Recorder, RecordPolicy
from server.settings import Settings
from server.start import StartError
from server.telemetry.backlog import SettledRegistry
from server.telemetry.host import CgroupCollector, gpu_collector
from server.telemetry.metrics import Metrics
from server.telemetry.triton import TritonCollector

if TYPE_CHECKING:
    from server.telemetry.tracing import Tracing


def watch(
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


def start_metrics(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> str:
    """Answer scrapes until the stack ends.

    Returns:
        HOST:PORT.

    Raises:
        StartError: The port is taken.
    """
    try:
        server, thread = start_metrics_server(
            settings.metrics_port,
            settings.metrics_host,
            SettledRegistry(metrics.registry, metrics.backlog),
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


def start_tracing(settings: Settings, stack: AsyncExitStack) -> "Tracing | None":
    """Traces until the stack ends, where the operator wants them.

    Raises:
        StartError: The extra is not installed.
    """
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


def start_capture(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> Capture | None:
    """What keeps answered photos until the stack ends, where the operator wants it.

    Raises:
        StartError: The folder cannot be made or written, the store cannot be listed, or an extra
            is missing.
    """
    if settings.capture is None:
        return None
    policy = CapturePolicy(
        settings.capture, settings.capture_per_minute, settings.capture_budget_mib * 2**20
    )
    with _naming("capture", policy.place):
        capture = Capture(policy, lambda outcome: metrics.captured.labels(outcome).inc())
    stack.push_async_callback(asyncio.to_thread, capture.close)
    return capture


def start_recorder(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> Recorder | None:
    """What records requests until the stack ends, where the operator wants it.

    Raises:
        StartError: The folder cannot be made or written.
    """
    if settings.record is None:
        return None
    policy = RecordPolicy(
        settings.record, settings.record_share, settings.record_budget_mib * 2**20
    )
    with _naming("record", policy.folder):
        recorder = Recorder(policy, lambda outcome: metrics.recorded.labels(outcome).inc())
    stack.push_async_callback(asyncio.to_thread, recorder.close)
    return recorder


@contextmanager
def _naming(setting: str, place: Path | str) -> Iterator[None]:
    """Name the setting whose place is no good."""
    try:
        yield
    except OSError as error:
        raise StartError(f"{setting}: {place}: {error.strerror}") from error
    except StoreError as error:
        raise StartError(f"{setting}: {error}") from error
    except ImportError as error:
        raise StartError(f"{setting}: stores need the extra 'stores'") from error
