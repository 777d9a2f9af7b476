"""Retries: when the server says so, and not when they would make an outage worse."""

import time

import grpc
import pytest

from client import AsyncClient, Client, UnavailableError
from client.retry import RetryThrottle
from client.sdk import DEFAULT_TIMEOUT_S

REQUESTS = 300
MOST_SENT = REQUESTS * 1.1


@pytest.fixture
def outage(server, make_status):
    """Everything is refused, and each refusal asks to come back at once."""
    server.item_errors[b"cat"] = make_status(
        "UNAVAILABLE", "full", reason="QUEUE_FULL", retry_after_s=0.001
    )
    return server


def test_a_total_outage_costs_a_tenth_more_requests(outage):
    with Client(outage.address) as client:
        for _ in range(REQUESTS):
            with pytest.raises(UnavailableError):
                client.classify(b"cat")
    assert REQUESTS < len(outage.requests) <= MOST_SENT


def test_a_total_outage_in_a_stream(outage):
    with Client(outage.address) as client:
        outcomes = list(client.classify_many((n, b"cat") for n in range(REQUESTS)))
    assert all(outcome.error.code == "UNAVAILABLE" for outcome in outcomes)
    assert REQUESTS < len(outage.requests) <= MOST_SENT


async def test_a_total_outage_in_an_asyncio_stream(outage):
    async with AsyncClient(outage.address) as client:
        items = ((n, b"cat") for n in range(REQUESTS))
        outcomes = [outcome async for outcome in client.classify_many(items)]
    assert all(outcome.error.code == "UNAVAILABLE" for outcome in outcomes)
    assert REQUESTS < len(outage.requests) <= MOST_SENT


def test_an_outage_that_is_over_is_forgotten(outage):
    with Client(outage.address) as client:
        list(client.classify_many((n, b"cat") for n in range(20)))
        list(client.classify_many((n, b"dog") for n in range(100)))
        outage.requests.clear()
        list(client.classify_many([("key", b"cat")]))
    assert len(outage.requests) > 1


def test_the_servers_pushback_goes_before_the_backoff(server, client):
    attempts = []

    def busy(context):
        attempts.append(time.monotonic())
        context.set_trailing_metadata([("grpc-retry-pushback-ms", "400")])
        context.abort(grpc.StatusCode.UNAVAILABLE, "busy")

    server.call_errors.append(busy)
    client.classify(b"cat")
    # Without pushback the first retry comes within 0.12 s.
    assert 0.35 < time.monotonic() - attempts[0] < DEFAULT_TIMEOUT_S


def test_tokens():
    throttle = RetryThrottle()
    assert [throttle.failed() for _ in range(6)] == [True] * 4 + [False] * 2
    for _ in range(21):
        throttle.succeeded()
    assert throttle.failed()
    assert not throttle.failed()
