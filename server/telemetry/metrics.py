"""Prometheus metrics, in base units. Labels come from bounded sets only."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

# 0.5 ms to 10 s: from one small image on a GPU to a queue at its limit.
_SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_RATIOS = (0.25, 0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)
_MODEL = ("model", "version")


class Metrics:
    """The server's metrics in a registry of their own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "menagerie_requests",
            "Requests answered, one per image, by gRPC code.",
            ("method", *_MODEL, "code"),
            registry=registry,
        )
        self.request_seconds = _seconds("request", "From arrival to answer.", registry)
        self.decode_seconds = _seconds("decode", "Waiting for a decoder and decoding.", registry)
        self.queue_seconds = _seconds("queue", "Waiting for the batch and the engine.", registry)
        self.engine_seconds = _seconds("engine", "The engine's run over a batch.", registry)
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
        self.model_info = Gauge(
            "menagerie_model_info",
            "1 for each model version that takes requests.",
            (*_MODEL, "network", "device", "dtype", "digest"),
            registry=registry,
        )

    def watch_depths(self, depths: Callable[[], dict[tuple[str, str, str], int]]) -> None:
        """Read queue depths, by (model, version, queue), whenever metrics are scraped."""
        self.registry.register(_DepthCollector(depths))


class _DepthCollector(Collector):
    def __init__(self, depths: Callable[[], dict[tuple[str, str, str], int]]) -> None:
        self._depths = depths

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "menagerie_queue_depth", "Images that wait.", labels=(*_MODEL, "queue")
        )
        for labels, depth in self._depths().items():
            family.add_metric(labels, depth)
        return [family]


def _seconds(step: str, meaning: str, registry: CollectorRegistry) -> Histogram:
    return Histogram(
        f"menagerie_{step}_seconds", meaning, _MODEL, buckets=_SECONDS, registry=registry
    )
