"""What a version is asked and what it answers, for metrics and warnings."""

import logging
from collections.abc import Sequence

from models.image_statistics import ImageStatistics
from models.manifest import Manifest
from server.pipeline.decode import MeasuredImage
from server.pipeline.engine import Scores
from server.telemetry.metrics import Metrics
from server.telemetry.model_health import ModelHealth

log = logging.getLogger(__name__)

_COUNTED_LABELS = 100


class Watch:
    """Follows one version.

    Args:
        manifest: Its own.
        metrics: The server's.
    """

    def __init__(self, manifest: Manifest, metrics: Metrics) -> None:
        self._labels = labels = (manifest.name, str(manifest.version))
        self._backlog = metrics.backlog
        self._abstain = manifest.calibration.abstain
        self._novelty = manifest.novelty
        self._abstained = metrics.abstained.labels(*labels)
        self._novel = metrics.novel.labels(*labels)
        self._drift_alarms = metrics.drift_alarms
        self._image_bytes = metrics.image_bytes.labels(*labels)
        self._brightness = metrics.brightness.labels(*labels)
        self._best_score = metrics.best_score.labels(*labels)
        self._best_labels = [
            metrics.best_labels.labels(*labels, label.id if index < _COUNTED_LABELS else "other")
            for index, label in enumerate(manifest.labels)
        ]
        self._health = ModelHealth(manifest.reference) if manifest.reference else None
        if self._health is not None:
            metrics.watch_drift(*labels, self._health.drift, self._health.thresholds)

    def observe(self, source: MeasuredImage, scores: Scores) -> None:
        """Take an answered image in."""
        self._backlog.add(
            self._take_in,
            *(source.size, source.statistics),
            *(scores.indices[0], scores.values[0], scores.novelty),
        )

    def _take_in(
        self,
        image_bytes: int,
        statistics: ImageStatistics | None,
        best: int,
        score: float,
        novelty: float | None,
    ) -> None:
        self._image_bytes.observe(image_bytes)
        self._best_score.observe(score)
        self._best_labels[best].inc()
        if self._abstain and score < self._abstain.threshold:
            self._abstained.inc()
        if self._novelty and novelty is not None and novelty > self._novelty.threshold:
            self._novel.inc()
        if statistics is None:
            return
        self._brightness.observe(statistics.brightness)
        if self._health is not None:
            self._warn(self._health.observe(best, score, statistics, novelty, image_bytes))

    def _warn(self, signals: Sequence[str]) -> None:
        for signal in signals:
            self._drift_alarms.labels(*self._labels, signal).inc()
            fields = {"model": self._labels[0], "version": self._labels[1], "signal": signal}
            log.warning("traffic has drifted", extra={"fields": fields})
