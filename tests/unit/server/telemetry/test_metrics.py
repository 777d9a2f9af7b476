"""What waits or was looked up before counts where a scrape looks."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from server.telemetry.backlog import SettledRegistry
from server.telemetry.metrics import Metrics

VERSION = {"model": "cats", "version": "3"}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def requests(metrics: Metrics) -> float | None:
    labels = {"method": "Classify", **VERSION, "code": "OK"}
    return metrics.registry.get_sample_value("menagerie_requests_total", labels)


def answer(metrics: Metrics) -> None:
    metrics.backlog.add(metrics.answered, "Classify", *VERSION.values(), "OK", 0.01, "")


def test_a_scrape_has_all_that_waits(metrics: Metrics) -> None:
    for answered in range(1, 250):
        answer(metrics)
        if answered in (1, 95, 96, 97, 249):
            assert requests(metrics) == answered
    seconds = metrics.registry.get_sample_value("menagerie_request_seconds_sum", VERSION)
    assert seconds == pytest.approx(2.49)


def test_a_scrape_of_some_metrics_by_name_has_it_too(metrics: Metrics) -> None:
    answer(metrics)
    scraped = SettledRegistry(metrics.registry, metrics.backlog)
    some = generate_latest(scraped.restricted_registry(["menagerie_requests_total"])).decode()
    assert some.splitlines()[-1].startswith("menagerie_requests_total{")
    assert some.splitlines()[-1].endswith(" 1.0")
    assert "menagerie_requests_in_flight" in generate_latest(scraped).decode()


def test_many_do_not_wait_for_a_scrape(metrics: Metrics) -> None:
    for _ in range(1000):
        answer(metrics)
    assert len(metrics.backlog._waiting) < 100


def test_what_fails_costs_no_other_observation(
    metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise ValueError("no such label")

    answer(metrics)
    metrics.backlog.add(fails)
    answer(metrics)
    metrics.backlog.settle()
    assert requests(metrics) == 2
    assert "an observation could not be made" in caplog.text


def test_a_version_that_comes_back_counts_from_the_start(metrics: Metrics) -> None:
    for _ in range(2):
        answer(metrics)
    metrics.forget(*VERSION.values())  # what waited goes with it
    assert requests(metrics) is None
    answer(metrics)
    assert requests(metrics) == 1
    seconds = metrics.registry.get_sample_value("menagerie_request_seconds_count", VERSION)
    assert seconds == 1
