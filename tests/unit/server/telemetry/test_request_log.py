"""Which requests get a log line, and what stands in it."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest

from server.telemetry.request_log import RequestLog, RequestRecord

STEPS = SimpleNamespace(
    decode_s=0.25, queue_s=1.5, engine_s=0.25, predicted_s=0.2, batch_size=8, closed_by="full"
)
RECORD = RequestRecord("Classify", "id", "cats", "2", "OK", 0.01, STEPS)


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def lines():
    handler, logger = Kept(), logging.getLogger("server.telemetry.request_log")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.records
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def test_the_share_is_kept_and_goes_by_the_id(lines) -> None:
    record = [replace(RECORD, request_id=f"request-{number}") for number in range(5000)]
    for replica in (RequestLog(0.1, 0), RequestLog(0.1, 0)):
        for one in record:
            replica.write(one)
    ids = [line.fields["request_id"] for line in lines]
    half = len(ids) // 2
    assert ids[:half] == ids[half:]
    assert half == pytest.approx(500, abs=75)  # 3.5 standard deviations


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 200)])
def test_none_and_all(lines, share: float, expected: int) -> None:
    log = RequestLog(share, 0)
    for number in range(200):
        log.write(replace(RECORD, request_id=str(number)))
    assert len(lines) == expected


def test_what_failed_inside_is_always_told(lines) -> None:
    log = RequestLog(0.0, 0)
    log.write(replace(RECORD, code="INTERNAL", steps=None))
    log.write(replace(RECORD, code="INVALID_ARGUMENT", steps=None))
    (line,) = lines
    assert line.fields["code"] == "INTERNAL"


def test_a_slow_request_is_told_with_its_steps(lines) -> None:
    log = RequestLog(0.0, 1.0)
    log.write(replace(RECORD, total_s=0.999))
    log.write(replace(RECORD, total_s=2.0, trace_id="abc"))
    (line,) = lines
    assert (line.levelname, line.getMessage()) == ("WARNING", "slow request")
    assert line.fields == {
        "method": "Classify", "request_id": "id", "model": "cats", "version": "2", "code": "OK",
        "total_ms": 2000.0, "trace_id": "abc", "decode_ms": 250.0, "queue_ms": 1500.0,
        "engine_ms": 250.0, "predicted_engine_ms": 200.0, "batch_size": 8,
        "batch_closed_by": "full", "untold": 0,
    }  # fmt: skip


def test_many_slow_requests_are_ten_lines_a_second(lines) -> None:
    now = 100.0
    log = RequestLog(0.0, 1.0, clock=lambda: now)
    for _ in range(25):
        log.write(replace(RECORD, total_s=2.0))
    now = 101.0
    log.write(replace(RECORD, total_s=2.0))
    log.write(replace(RECORD, total_s=2.0))
    assert [line.fields["untold"] for line in lines] == [0] * 10 + [15, 0]
