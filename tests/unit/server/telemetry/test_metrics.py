"""Counters that are looked up once count where a scrape looks."""

import pytest
from prometheus_client import CollectorRegistry

from server.telemetry.metrics import Metrics

VERSION = {"model": "cats", "version": "3"}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def requests(metrics: Metrics) -> float | None:
    labels = {"method": "Classify", **VERSION, "code": "OK"}
    return metrics.registry.get_sample_value("menagerie_requests_total", labels)


def test_a_version_that_comes_back_counts_from_the_start(metrics: Metrics) -> None:
    for _ in range(2):
        metrics.of_request("Classify", "cats", "3", "OK").inc()
        metrics.seconds_of("cats", "3").observe(0.01)
    assert requests(metrics) == 2
    metrics.forget("cats", "3")
    assert requests(metrics) is None
    metrics.of_request("Classify", "cats", "3", "OK").inc()
    metrics.seconds_of("cats", "3").observe(0.01)
    assert requests(metrics) == 1
    seconds = metrics.registry.get_sample_value("menagerie_request_seconds_count", VERSION)
    assert seconds == 1
