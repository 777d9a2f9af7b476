"""What is measured of one version's work."""

from models.manifest import Manifest
from server.pipeline.batcher import BatchRecord, Drop
from server.telemetry.current_trace import exemplar
from server.telemetry.metrics import Metrics


class VersionMetrics:
    """One version's part of the metrics; observing costs no look-up of labels.

    Args:
        metrics: Of all.
        manifest: The version's.
    """

    def __init__(self, metrics: Metrics, manifest: Manifest) -> None:
        labels = self._labels = (manifest.name, str(manifest.version))
        metrics.begin_version(*labels, Drop)
        self._metrics = metrics
        self._decode_seconds = metrics.decode_seconds.labels(*labels)
        self._queue_seconds = metrics.queue_seconds.labels(*labels)
        self._engine_seconds = metrics.engine_seconds.labels(*labels)
        self._image_engine_seconds = metrics.image_engine_seconds.labels(*labels)
        self._batch_size = metrics.batch_size.labels(*labels)
        self._cost_ratio = metrics.batch_cost_ratio.labels(*labels)

    def computes_with(self, engine: str, *, tuned: str, before: str | None = None) -> None:
        """Tell which engine there is, and where its batch times come from.

        Args:
            engine: Its name.
            tuned: Where from.
            before: The name of the engine that it replaces.
        """
        if before is not None:
            self._metrics.engine_info.remove(*self._labels, before)
        self._metrics.engine_info.labels(*self._labels, engine).set(1)
        self._metrics.tuning_info.labels(*self._labels, tuned).set(1)

    def ended(self, engine: str, *, tuned: str) -> None:
        """There is no engine any more."""
        self._metrics.engine_info.remove(*self._labels, engine)
        self._metrics.tuning_info.remove(*self._labels, tuned)

    def answered(self, decode_s: float, queue_s: float, shrunk_to: int) -> None:
        """An image was answered.

        Args:
            decode_s: Seconds waiting for a decoder and decoding.
            queue_s: Seconds waiting for the batch and the engine.
            shrunk_to: The side in pixels to which it was shrunk; 0: it was not.
        """
        self._metrics.backlog.add(self._took, decode_s, queue_s, exemplar())
        if shrunk_to:
            self._metrics.browned_out.labels(*self._labels, str(shrunk_to)).inc()

    def _took(self, decode_s: float, queue_s: float, trace: dict[str, str] | None) -> None:
        self._decode_seconds.observe(decode_s, trace)
        self._queue_seconds.observe(queue_s, trace)

    def computed(self, batch: BatchRecord) -> None:
        """A batch came from the engine."""
        self._metrics.backlog.add(self._computed, batch)

    def _computed(self, batch: BatchRecord) -> None:
        self._batch_size.observe(batch.size)
        self._engine_seconds.observe(batch.run_s)
        self._image_engine_seconds.inc(batch.run_s * batch.size)
        self._metrics.batches.labels(*self._labels, batch.reason).inc()
        if batch.predicted_s > 0:
            self._cost_ratio.observe(batch.run_s / batch.predicted_s)

    def dropped(self, reason: Drop) -> None:
        """An image was not answered."""
        self._metrics.dropped.labels(*self._labels, reason).inc()
