"""The server's metrics under the names of NVIDIA Triton, for dashboards made for it.

Names and meanings: Triton's docs/user_guide/metrics.md. What Triton counts and this server
does not (the time of copying inputs and outputs) is left out.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from server.telemetry.host import GpuCollector
from server.telemetry.metrics import Metrics, QueueDepths
from server.telemetry.samples import ByLabels, samples

_MICROSECONDS = 1e6
_FAILURES = {
    "UNAVAILABLE": "REJECTED",
    "RESOURCE_EXHAUSTED": "REJECTED",
    "DEADLINE_EXCEEDED": "REJECTED",
    "CANCELLED": "CANCELED",
    "INTERNAL": "BACKEND",
}
_GPU = {
    "menagerie_gpu_utilization_ratio": "nv_gpu_utilization",
    "menagerie_gpu_memory_total_bytes": "nv_gpu_memory_total_bytes",
    "menagerie_gpu_memory_used_bytes": "nv_gpu_memory_used_bytes",
    "menagerie_gpu_power_watts": "nv_gpu_power_usage",
}


class TritonCollector(Collector):
    """Reads the server's own metrics and serves them under Triton's names.

    Args:
        metrics: The server's.
        depths: Of its queues, by (model, version, queue).
        gpus: Theirs, where there are any.
    """

    def __init__(
        self, metrics: Metrics, depths: Callable[[], QueueDepths], gpus: GpuCollector | None
    ) -> None:
        self._metrics = metrics
        self._depths = depths
        self._gpus = gpus

    def collect(self) -> Iterable[Metric]:
        """What Triton would say."""
        metrics = self._metrics
        ok, failed = self._requests()
        yield _counter("request_success", "Requests answered.", ok)
        yield _counter("request_failure", "Requests not answered.", failed, "reason")
        images = samples(metrics.batch_size, "_sum")
        yield _counter("count", "Images classified.", images)
        executions = samples(metrics.batch_size, "_count")
        yield _counter("exec_count", "Batches executed.", executions)
        for name, meaning, seconds in (
            ("request_duration_us", "Handling requests.", metrics.request_seconds),
            ("queue_duration_us", "Waiting for the engine.", metrics.queue_seconds),
            ("compute_input_duration_us", "Decoding.", metrics.decode_seconds),
        ):
            yield _counter(name, meaning, _microseconds(samples(seconds, "_sum")))
        engine = samples(metrics.image_engine_seconds, "_total")
        yield _counter("compute_infer_duration_us", "In the engine.", _microseconds(engine))
        yield self._pending()
        yield from self._of_gpus()

    def _requests(self) -> tuple[ByLabels, ByLabels]:
        ok: ByLabels = defaultdict(float)
        failed: ByLabels = defaultdict(float)
        for (_, model, version, code), count in samples(self._metrics.requests, "_total").items():
            if code == "OK":
                ok[model, version] += count
            else:
                failed[model, version, _FAILURES.get(code, "OTHER")] += count
        return ok, failed

    def _pending(self) -> Metric:
        family = GaugeMetricFamily(
            "nv_inference_pending_request_count",
            "Requests that wait for the engine.",
            labels=("model", "version"),
        )
        for (model, version, queue), depth in self._depths().items():
            if queue == "engine":
                family.add_metric((model, version), depth)
        return family

    def _of_gpus(self) -> Iterator[Metric]:
        for metric in self._gpus.collect() if self._gpus else ():
            if metric.name in _GPU:
                family = GaugeMetricFamily(
                    _GPU[metric.name], metric.documentation, labels=("gpu_uuid",)
                )
                for sample in metric.samples:
                    family.add_metric((sample.labels["gpu"],), sample.value)
                yield family


def _microseconds(seconds: ByLabels) -> ByLabels:
    return {labels: value * _MICROSECONDS for labels, value in seconds.items()}


def _counter(name: str, meaning: str, values: ByLabels, *more: str) -> Metric:
    # Triton's counters have no _total; CounterMetricFamily would append it.
    family = Metric(f"nv_inference_{name}", meaning, "unknown")
    for labels, value in values.items():
        names = ("model", "version", *more)
        family.add_sample(family.name, dict(zip(names, labels, strict=True)), value)
    return family
