"""The short soak: ids sent are ids answered once and rightly; counters agree; nothing piles up.

The long one: ``python -m tests.load.soak --minutes 120``.
"""

import asyncio
from pathlib import Path

from tests.artifacts import publish_tiny_artifact
from tests.integration.conftest import run_server
from tests.load.traffic import Traffic
from tests.load.watching import counted, holdings

REQUESTS = 800
ROUNDS = 2
MAX_RSS_GROWTH_BYTES = 50 * 2**20


def test_every_request_is_answered_once(tmp_path: Path) -> None:
    publish_tiny_artifact(tmp_path)
    with run_server("--repository", str(tmp_path), "--lame-duck-s", "0") as server:
        traffic = Traffic(server.grpc, seed=20)
        asyncio.run(traffic.run(REQUESTS))
        before = holdings(server.process.pid)
        for _ in range(ROUNDS):
            asyncio.run(traffic.run(REQUESTS))
        after = holdings(server.process.pid)
        counts = counted(server.metrics)
    outcomes = traffic.ledger.outcomes
    assert outcomes.total() >= REQUESTS * (ROUNDS + 1)
    # What was given up may have been answered all the same, or never have arrived.
    assert 0 <= counts["OK"] - outcomes["OK"] <= outcomes["GIVEN_UP"]
    given_up = counts["INVALID_ARGUMENT"] - outcomes["INVALID_ARGUMENT"]
    assert 0 <= given_up <= outcomes["GIVEN_UP"]
    late = {"CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE"}
    ended = {code for code, count in counts.items() if count}
    assert ended <= {"OK", "INVALID_ARGUMENT", *late}
    assert counts.total() <= outcomes.total()
    assert after.rss_bytes - before.rss_bytes < MAX_RSS_GROWTH_BYTES
    assert after.descriptors <= before.descriptors + 2
    assert after.threads <= before.threads + 2
