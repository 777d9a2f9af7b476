"""What a server is made of: its parts from settings, with no model loaded yet."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from math import inf

import torch

from models.image_header import ImageLimits
from server.catalog.catalog import Catalog
from server.catalog.options import EngineOptions
from server.catalog.takeover import CompileOptions, TakeOvers
from server.instruments import start_capture, start_recorder, start_tracing, watch
from server.pipeline.admission import QueuePolicy
from server.pipeline.compile_cache import CompileCache, default_cache_folder
from server.pipeline.cores import allot, usable_cores
from server.pipeline.decode import DecodePool
from server.pipeline.lanes import Lanes
from server.pipeline.nvjpeg import JpegBatches
from server.pipeline.probe import batches_per_s, choose_lanes, known_rates
from server.pipeline.tuning import TuningStore
from server.provision import Provision, provision
from server.rpc import models
from server.rpc.admin import AdminServicer
from server.rpc.answers import CatalogAnswers
from server.rpc.calls import Handlers
from server.rpc.feedback import AnswerMemory, FeedbackServicer
from server.rpc.oip import InferenceAdminServicer, InferenceModelServicer
from server.rpc.response_cache import ResponseCache
from server.settings import Settings
from server.start import StartError
from server.telemetry.metrics import Metrics
from server.telemetry.request_log import RequestLog


@dataclass(frozen=True)
class Engine:
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


def engine_of(
    settings: Settings,
    metrics: Metrics,
    dropped_log_lines: Callable[[], int],
    stack: AsyncExitStack,
) -> Engine:
    """The models, not loaded yet, and the answers they give."""
    cache = CompileCache(
        settings.compile_cache or default_cache_folder(), checked=settings.compile_cache_check
    )
    decoder, options = _pipeline(settings, TuningStore(cache) if settings.saved_tuning else None)
    stack.callback(decoder.close)
    takeovers = _takeovers(settings, options, metrics, cache)
    provided = provision(settings, decoder, options, metrics, takeovers)
    stack.callback(provided.source.close)
    catalog = provided.catalog
    watch(settings, metrics, catalog, options)
    metrics.watch_dropped_log_lines(dropped_log_lines)
    requests = RequestLog(settings.log_request_share, settings.slow_request_ms / 1000)
    tracing = start_tracing(settings, stack)
    capture = start_capture(settings, metrics, stack)
    memory = AnswerMemory(metrics, capture, settings.feedback_memory)
    recorder = start_recorder(settings, metrics, stack)
    answers = CatalogAnswers(
        catalog,
        metrics,
        requests,
        tracing,
        settings.default_deadline_s,
        memory,
        provided.shadows,
        recorder,
        ResponseCache(settings.response_cache_mb * 2**20, metrics),
    )
    return Engine(provided, catalog, answers, memory, metrics, takeovers)


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
    limits = image_limits(settings)
    jpegs = JpegBatches(limits) if settings.gpu_decode and name == "cuda" else None
    return DecodePool(allotment.decoders, settings.queue_limit, limits, jpegs), options


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
        int8=settings.engine == settings.precision == "auto",
    )
    return TakeOvers(compile_options, options, metrics)


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
