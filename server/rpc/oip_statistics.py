"""What Triton's statistics say of a model version, from what this server counts."""

from typing import TYPE_CHECKING

from prometheus_client import Histogram

from proto.inference import inference_pb2
from server.catalog.entry import Entry
from server.pipeline.cache import Origin
from server.telemetry.samples import ByLabels, samples

if TYPE_CHECKING:
    from server.catalog.servable import Servable
    from server.telemetry.metrics import Metrics

_NS = 1e9
_MS = 1e3

Duration = inference_pb2.StatisticDuration


class Statistics:
    """A reading of the metrics.

    Args:
        metrics: The server's.
    """

    def __init__(self, metrics: "Metrics") -> None:
        metrics.backlog.settle()
        self._requests = samples(metrics.requests, "_total")
        self._kept = samples(metrics.response_cache_requests, "_total")
        self._request = _Timed(metrics.request_seconds)
        self._queue = _Timed(metrics.queue_seconds)
        self._decode = _Timed(metrics.decode_seconds)
        self._engine = samples(metrics.image_engine_seconds, "_total")

    def of(self, entry: Entry, servable: "Servable") -> inference_pb2.ModelStatistics:
        """What is counted of a version that is loaded."""
        labels = (entry.name, str(entry.version))
        runs = servable.tally.by_size
        images = sum(size * each.count for size, each in runs.items())
        engine = Duration(count=images, ns=round(self._engine.get(labels, 0.0) * _NS))
        return inference_pb2.ModelStatistics(
            name=entry.name,
            version=str(entry.version),
            last_inference=round(servable.tally.last_s * _MS),
            inference_count=images,
            execution_count=sum(each.count for each in runs.values()),
            inference_stats=inference_pb2.InferStatistics(
                success=Duration(
                    count=self._count(labels, ok=True), ns=self._request.of(labels).ns
                ),
                fail=Duration(count=self._count(labels, ok=False)),
                queue=self._queue.of(labels),
                compute_input=self._decode.of(labels),
                compute_infer=engine,
                cache_hit=Duration(count=self._looked_up(labels, Origin.HIT, Origin.JOINED)),
                cache_miss=Duration(count=self._looked_up(labels, Origin.MISS)),
            ),
            batch_stats=[
                inference_pb2.InferBatchStatistics(
                    batch_size=size,
                    compute_infer=Duration(count=each.count, ns=round(each.seconds * _NS)),
                )
                for size, each in runs.items()
            ],
            memory_usage=[
                inference_pb2.MemoryUsage(
                    type="CPU" if servable.device.type == "cpu" else "GPU",
                    id=servable.device.index or 0,
                    byte_size=entry.memory_bytes,
                )
            ],
        )

    def _looked_up(self, labels: tuple[str, str], *origins: Origin) -> int:
        return round(sum(self._kept.get((*labels, origin), 0.0) for origin in origins))

    def _count(self, labels: tuple[str, str], *, ok: bool) -> int:
        return round(
            sum(
                count
                for (_, *model, code), count in self._requests.items()
                if tuple(model) == labels and (code == "OK") is ok
            )
        )


class _Timed:
    """A histogram of seconds, by model version."""

    def __init__(self, histogram: Histogram) -> None:
        self._counts: ByLabels = samples(histogram, "_count")
        self._sums: ByLabels = samples(histogram, "_sum")

    def of(self, labels: tuple[str, str]) -> inference_pb2.StatisticDuration:
        return Duration(
            count=round(self._counts.get(labels, 0)), ns=round(self._sums.get(labels, 0.0) * _NS)
        )
