"""The short accounting; the long one: ``python -m tests.load.accounting --requests 200000``."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.load.accounting import Plan, account, publish
from tests.load.deployment import Life, reconcile
from tests.load.ledger import Ledger, Photo
from tests.load.photos import photos

REQUESTS = 1000
MAX_RSS_GROWTH_BYTES = 50 * 2**20
RED = Photo(b"", "OK", {"red": 0.9, "green": 0.1})


def test_every_request_is_answered_once(tmp_path: Path) -> None:
    publish(tmp_path)
    faults = ("slow_network", "cut_network", "stall", "fill_log_disk", "set_wall_clock")
    plan = Plan(REQUESTS, 1, faults, 1)
    result = asyncio.run(account(plan, tmp_path, photos(20), seed=20))
    outcomes = result["outcomes"]
    assert result["ids"] >= REQUESTS
    assert outcomes.keys() >= {"OK", "INVALID_ARGUMENT", "GIVEN_UP", "LOST"}
    assert outcomes["OK"] > REQUESTS / 2
    first, last = result["held"]
    assert last["rss_bytes"] - first["rss_bytes"] < MAX_RSS_GROWTH_BYTES
    assert last["threads"] <= first["threads"] + 2


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.send("one", RED)
    return ledger


def test_a_second_answer_shows(ledger: Ledger) -> None:
    ledger.answer("one", "OK", RED.scores)
    with pytest.raises(AssertionError, match="answered twice"):
        ledger.answer("one", "OK", RED.scores)


def test_a_missing_answer_shows(ledger: Ledger) -> None:
    with pytest.raises(AssertionError, match="1 requests have no answer"):
        ledger.close()


def test_anothers_answer_shows(ledger: Ledger) -> None:
    with pytest.raises(AssertionError, match=r"red 0\.8 instead of 0\.9"):
        ledger.answer("one", "OK", {"red": 0.8, "green": 0.2})


def test_only_faults_may_lose_a_request(ledger: Ledger) -> None:
    with ledger.fault():
        ledger.send("two", RED)
    ledger.send("three", RED)
    ledger.answer("one", "UNAVAILABLE")
    ledger.answer("two", "UNAVAILABLE")
    with pytest.raises(AssertionError, match="UNAVAILABLE instead of OK"):
        ledger.answer("three", "UNAVAILABLE")
    assert ledger.outcomes == {"LOST": 2}


@pytest.mark.parametrize(
    ("life", "message"),
    [
        (Life("SIGTERM", Counter(OK=2), {"one": "OK"}), "OK"),  # its counter is wrong
        (Life("SIGTERM", Counter(INTERNAL=1), {"one": "INTERNAL"}), "INTERNAL, told OK"),
        (Life("SIGTERM", Counter(), {}), "not in the server's log"),
        (Life("SIGTERM", Counter(OK=2), {"one": "OK", "two": "OK"}), "what nobody asked"),
    ],
    ids=["counter", "code", "log", "unasked"],
)
def test_a_server_that_tells_another_story_shows(ledger: Ledger, life: Life, message: str) -> None:
    ledger.answer("one", "OK", RED.scores)
    with pytest.raises(AssertionError, match=message):
        reconcile(ledger, [life])
