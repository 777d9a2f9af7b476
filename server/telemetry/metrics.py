"""Prometheus metrics, in base units. Labels come from bounded sets only.

docs/reference/metrics.md says of each what it is for; a test holds the two together.
"""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from server.telemetry.backlog import Backlog

# 0.5 ms to 10 s: from one small image on a GPU to a queue at its limit.
_SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_BRIGHTNESS = tuple(25.5 * step for step in range(1, 11))
_IMAGE_BYTES = tuple(float(4**power) for power in range(5, 13))  # 1 KiB to 16 MiB
_RATIOS = (0.25, 0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)
_SHIFTS = (
    -0.5, -0.2, -0.1, -0.05, -0.02, -0.01, -0.001, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0,
)  # fmt: skip
_MODEL = ("model", "version")
_WATCHED_CODES = ("OK", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL")

QueueDepths = Mapping[tuple[str, str, str], int]
ModelStates = Mapping[tuple[str, str], str]


class Metrics:
    """The server's metrics in a registry of their own.

    Attributes:
        registry: Theirs.
        backlog: For observations of every request.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.backlog = Backlog()
        registry.register(self.backlog)
        self._of_requests: dict[tuple[str, str, str, str], Counter] = {}
        self._seconds_of: dict[tuple[str, str], Histogram] = {}
        self.requests = Counter(
            "menagerie_requests",
            "Requests answered, one per image, by gRPC code.",
            ("method", *_MODEL, "code"),
            registry=registry,
        )
        self.in_flight = Gauge(
            "menagerie_requests_in_flight",
            "Requests that wait for their answer.",
            registry=registry,
        )
        self.request_seconds = _seconds("request", "From arrival to answer.", registry)
        self.decode_seconds = _seconds("decode", "Waiting for a decoder and decoding.", registry)
        self.queue_seconds = _seconds("queue", "Waiting for the batch and the engine.", registry)
        self.engine_seconds = _seconds("engine", "The engine's run over a batch.", registry)
        self.image_engine_seconds = Counter(
            "menagerie_image_engine_seconds",
            "The engine's runs, each counted once for every image in its batch.",
            _MODEL,
            registry=registry,
        )
        self.batch_size = Histogram(
            "menagerie_batch_size",
            "Images in a batch.",
            _MODEL,
            buckets=_BATCH_SIZES,
            registry=registry,
        )
        self.batches = Counter(
            "menagerie_batches",
            "Batches run, by why they closed.",
            (*_MODEL, "reason"),
            registry=registry,
        )
        self.batch_cost_ratio = Histogram(
            "menagerie_batch_cost_ratio",
            "What a batch took over what it was predicted to take.",
            _MODEL,
            buckets=_RATIOS,
            registry=registry,
        )
        self.dropped = Counter(
            "menagerie_dropped",
            "Images that did not reach the engine, by reason.",
            (*_MODEL, "reason"),
            registry=registry,
        )
        self.browned_out = Counter(
            "menagerie_browned_out",
            "Images shrunk to this side, in pixels, so that they had not to be refused.",
            (*_MODEL, "side"),
            registry=registry,
        )
        self.model_info = Gauge(
            "menagerie_model_info",
            "1 for each model version that takes requests.",
            (*_MODEL, "network", "device", "dtype", "digest"),
            registry=registry,
        )

        self.best_score = Histogram(
            "menagerie_best_score",
            "Score of the best label.",
            _MODEL,
            buckets=_SCORES,
            registry=registry,
        )
        self.brightness = Histogram(
            "menagerie_brightness",
            "Mean of an input's pixels, 0 to 255.",
            _MODEL,
            buckets=_BRIGHTNESS,
            registry=registry,
        )
        self.image_bytes = Histogram(
            "menagerie_image_bytes",
            "Size of the images as they came.",
            _MODEL,
            buckets=_IMAGE_BYTES,
            registry=registry,
        )
        self.best_labels = Counter(
            "menagerie_best_labels",
            "Images by their best label; labels beyond the first 100 count as one.",
            (*_MODEL, "label"),
            registry=registry,
        )
        self.abstained = Counter(
            "menagerie_abstained",
            "Answers whose best score is below the artifact's abstain threshold.",
            _MODEL,
            registry=registry,
        )
        self.novel = Counter(
            "menagerie_novel",
            "Images unlike those that the model learned from.",
            _MODEL,
            registry=registry,
        )
        self.feedback = Counter(
            "menagerie_feedback",
            "Answers that somebody spoke of: correct or wrong.",
            (*_MODEL, "outcome"),
            registry=registry,
        )
        self.captured = Counter(
            "menagerie_captured",
            "Photos kept to learn from, or why not: rate, budget, queue, failed.",
            ("outcome",),
            registry=registry,
        )
        self.recorded = Counter(
            "menagerie_recorded",
            "Requests recorded to be replayed, or why not: queue, failed.",
            ("outcome",),
            registry=registry,
        )
        self.drift_alarms = Counter(
            "menagerie_drift_alarms",
            "Windows of 1,000 images whose index lay above its threshold.",
            (*_MODEL, "signal"),
            registry=registry,
        )
        self._drift = _DriftCollector()
        registry.register(self._drift)
        self.load_seconds = Gauge(
            "menagerie_model_load_seconds",
            "What verifying, loading and warming the version took.",
            _MODEL,
            registry=registry,
        )
        self.engine_info = Gauge(
            "menagerie_engine_info",
            "1 for the engine that computes a model version's batches.",
            (*_MODEL, "engine"),
            registry=registry,
        )
        self.tuning_info = Gauge(
            "menagerie_tuning_info",
            "1 for where a model version's batch times come from: measured, read.",
            (*_MODEL, "source"),
            registry=registry,
        )
        self.engine_takeovers = Counter(
            "menagerie_engine_takeovers",
            "Attempts of a compiled engine to take over, by what became of them.",
            (*_MODEL, "engine", "outcome"),
            registry=registry,
        )
        self.load_failures = Counter(
            "menagerie_model_load_failures",
            "Versions that failed to load, by what failed.",
            (*_MODEL, "reason"),
            registry=registry,
        )
        self.response_cache_requests = Counter(
            "menagerie_response_cache_requests",
            "Requests answered while answers are kept, by where the answer came from.",
            (*_MODEL, "outcome"),
            registry=registry,
        )
        self.response_cache_evictions = Counter(
            "menagerie_response_cache_evictions",
            "Kept answers that had to make room for others.",
            registry=registry,
        )
        self.response_cache_bytes = Gauge(
            "menagerie_response_cache_bytes", "What kept answers hold.", registry=registry
        )
        self.shadow_answers = Counter(
            "menagerie_shadow_answers",
            "Copies that a version on trial has answered, by whether its best label is the same.",
            (*_MODEL, "outcome"),
            registry=registry,
        )
        self.shadow_score_shift = Histogram(
            "menagerie_shadow_score_shift",
            "Its score of the label that was answered, less the score that was answered.",
            _MODEL,
            buckets=_SHIFTS,
            registry=registry,
        )
        self.shadow_dropped = Counter(
            "menagerie_shadow_dropped",
            "Copies that it never answered, by reason.",
            (*_MODEL, "reason"),
            registry=registry,
        )
        self.lanes = Gauge(
            "menagerie_lanes", "Batches that the device computes at the same time.",
            registry=registry,
        )  # fmt: skip
        self.queue_limit = Gauge(
            "menagerie_queue_limit", "Images that may wait, in each queue.", registry=registry
        )

    def answered(
        self, method: str, model: str, version: str, code: str, total_s: float, trace_id: str
    ) -> None:
        """A request was answered, with whatever code.

        Args:
            method: That brought it.
            model: Its name; empty when none was found.
            version: Its version, likewise.
            code: The gRPC code, by name.
            total_s: From arrival to answer, in seconds.
            trace_id: Of its trace; empty when it is not traced.
        """
        # Looked up once: that costs more than to count.
        key = (method, model, version, code)
        if (count := self._of_requests.get(key)) is None:
            count = self._of_requests[key] = self.requests.labels(*key)
        count.inc()
        if code == "OK":
            if (seconds := self._seconds_of.get(key[1:3])) is None:
                seconds = self._seconds_of[key[1:3]] = self.request_seconds.labels(model, version)
            seconds.observe(total_s, {"trace_id": trace_id} if trace_id else None)

    def begin_version(self, model: str, version: str, drops: Iterable[str]) -> None:
        """Show a version's counters at 0 before anything is counted.

        A counter whose first sample is 20 has no increase that Prometheus could see: the first
        burst of errors after a start would pass unnoticed.

        Args:
            model: Its name.
            version: Its version.
            drops: The reasons for which an image is dropped.
        """
        for reason in drops:
            self.dropped.labels(model, version, reason)
        for code in _WATCHED_CODES:
            self.requests.labels("Classify", model, version, code)

    def watch_depths(self, depths: Callable[[], QueueDepths]) -> None:
        """Read queue depths, by (model, version, queue), whenever metrics are scraped."""
        self.registry.register(_DepthCollector(depths))

    def watch_states(self, names: Iterable[str], states: Callable[[], ModelStates]) -> None:
        """Read the state of each (model, version), one of ``names``, likewise."""
        self.registry.register(_StateCollector(tuple(names), states))

    def watch_drift(
        self,
        model: str,
        version: str,
        drift: Callable[[], dict[str, float]],
        thresholds: dict[str, float],
    ) -> None:
        """Read a version's population stability indices, by signal, likewise."""
        self._drift.versions[model, version] = drift, thresholds

    def forget_drift(self, model: str, version: str) -> None:
        """Read a version's indices no longer."""
        self._drift.versions.pop((model, version), None)

    def forget(self, model: str, version: str) -> None:
        """Drop everything about a version that has gone, so that metrics stay bounded."""
        self.backlog.settle()
        self._of_requests.clear()
        self._seconds_of.clear()
        for metric in vars(self).values():
            if isinstance(metric, MetricWrapperBase) and set(_MODEL) <= set(metric._labelnames):
                metric.remove_by_labels({"model": model, "version": version})

    def watch_ready(self, is_ready: Callable[[], bool]) -> None:
        """Read whether the server takes requests, likewise."""
        gauge = Gauge("menagerie_ready", "1 while requests are taken.", registry=self.registry)
        gauge.set_function(lambda: float(is_ready()))

    def watch_dropped_log_lines(self, dropped: Callable[[], int]) -> None:
        """Read how many log lines found no reader, likewise."""
        self.registry.register(_DroppedLinesCollector(dropped))


class _DepthCollector(Collector):
    def __init__(self, depths: Callable[[], QueueDepths]) -> None:
        self._depths = depths

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "menagerie_queue_depth", "Images that wait.", labels=(*_MODEL, "queue")
        )
        for labels, depth in self._depths().items():
            family.add_metric(labels, depth)
        return [family]


class _StateCollector(Collector):
    def __init__(self, names: tuple[str, ...], states: Callable[[], ModelStates]) -> None:
        self._names = names
        self._states = states

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "menagerie_model_state",
            "1 for the state that a model version is in, 0 for the others.",
            labels=(*_MODEL, "state"),
        )
        for labels, state in self._states().items():
            for name in self._names:
                family.add_metric((*labels, name), float(name == state))
        return [family]


class _DriftCollector(Collector):
    def __init__(self) -> None:
        self.versions: dict[
            tuple[str, str], tuple[Callable[[], dict[str, float]], dict[str, float]]
        ] = {}

    def collect(self) -> list[GaugeMetricFamily]:
        indices = GaugeMetricFamily(
            "menagerie_drift_psi",
            "Population stability index of the last 1,000 images against the reference.",
            labels=(*_MODEL, "signal"),
        )
        limits = GaugeMetricFamily(
            "menagerie_drift_threshold_psi",
            "The index that chance does not explain.",
            labels=(*_MODEL, "signal"),
        )
        for labels, (drift, thresholds) in list(self.versions.items()):
            for signal, index in drift().items():
                indices.add_metric((*labels, signal), index)
            for signal, threshold in thresholds.items():
                limits.add_metric((*labels, signal), threshold)
        return [indices, limits]


class _DroppedLinesCollector(Collector):
    def __init__(self, dropped: Callable[[], int]) -> None:
        self._dropped = dropped

    def collect(self) -> list[CounterMetricFamily]:
        return [
            CounterMetricFamily(
                "menagerie_log_lines_dropped",
                "Log lines that were dropped: stderr was read too slowly, or its disk was full.",
                value=self._dropped(),
            )
        ]


def _seconds(step: str, meaning: str, registry: CollectorRegistry) -> Histogram:
    return Histogram(
        f"menagerie_{step}_seconds", meaning, _MODEL, buckets=_SECONDS, registry=registry
    )
