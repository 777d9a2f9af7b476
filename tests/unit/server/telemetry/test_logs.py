"""Logs: whoever logs never waits, and what is lost is counted."""

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from server.telemetry.logs import JsonFormatter, QueuedHandler

ROOT = Path(__file__).parents[4]


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader:
        yield reader, writing


def logger_to(handler: logging.Handler) -> logging.Logger:
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger


def records_until_end(reader) -> list[dict]:
    return [json.loads(line) for line in reader]


def test_lines_are_written_in_order_before_close_returns(pipe) -> None:
    reader, writing = pipe
    handler = QueuedHandler(writing)
    logger = logger_to(handler)
    for number in range(100):
        logger.info("line", extra={"fields": {"number": number}})
    handler.close()
    os.close(writing)
    records = records_until_end(reader)
    assert [record["number"] for record in records] == list(range(100))
    assert {(record["level"], record["logger"]) for record in records} == {("info", "test")}
    assert handler.dropped == 0


@pytest.mark.parametrize("blocking", [True, False])
def test_a_pipe_that_nobody_reads_costs_lines_not_time(pipe, blocking: bool) -> None:
    reader, writing = pipe
    os.set_blocking(writing, blocking)
    handler = QueuedHandler(writing, capacity=10)
    logger = logger_to(handler)
    sent = 3000
    for number in range(sent):  # much more than the pipe and the queue hold: must not block
        logger.info("x" * 200, extra={"fields": {"number": number}})
    dropped = handler.dropped
    assert dropped > 0
    received: list[dict] = []
    reading = threading.Thread(target=lambda: received.extend(records_until_end(reader)))
    reading.start()
    handler.close()
    os.close(writing)
    reading.join(timeout=30)
    told = sum(record.get("dropped", 0) for record in received)
    kept = [record["number"] for record in received if "number" in record]
    assert told == dropped
    assert len(kept) + told == sent
    assert kept == sorted(set(kept))


def test_a_closed_pipe_harms_nobody(pipe) -> None:
    reader, writing = pipe
    reader.close()
    handler = QueuedHandler(writing)
    logger_to(handler).error("nobody hears this")
    handler.close()
    assert handler.dropped == 1


def test_a_program_whose_stderr_is_full_still_exits() -> None:
    program = (
        "import logging; from server.telemetry.logs import configure_logs\n"
        "configure_logs('info')\n"
        "for _ in range(20000): logging.info('x' * 100)\n"
        "print('done', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,  # never read
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        assert process.wait(timeout=30) == 0


def test_a_disk_that_was_full_costs_the_lines_of_that_time_alone(tmp_path: Path) -> None:
    program = (
        "import logging, time\n"
        "from server.telemetry.logs import configure_logs\n"
        "from resource import RLIM_INFINITY, RLIMIT_FSIZE, setrlimit\n"
        "def room(size): setrlimit(RLIMIT_FSIZE, (size, RLIM_INFINITY))\n"
        "logs = configure_logs('info')\n"
        "room(1000)\n"  # in the middle of a line, as a disk's room ends
        "for number in range(30): logging.info('before', extra={'fields': {'number': number}})\n"
        "while not logs.dropped: time.sleep(0.01)\n"
        "room(RLIM_INFINITY)\n"
        "logging.warning('after')\n"
        "logs.close()\n"
        "print(logs.dropped)\n"
    )
    path = tmp_path / "log"
    with path.open("wb") as file:
        command = [sys.executable, "-c", program]
        ran = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=file, check=True, timeout=60
        )
    *whole, torn, after, told = path.read_text().splitlines()
    numbers = [json.loads(line)["number"] for line in whole]
    assert numbers == list(range(len(numbers)))
    assert torn.startswith("{")
    with pytest.raises(json.JSONDecodeError):
        json.loads(torn)
    assert json.loads(after)["message"] == "after"  # not behind the torn one
    assert json.loads(told)["dropped"] == int(ran.stdout) == 30 - len(numbers)


def test_exceptions_stay_on_their_line(pipe) -> None:
    reader, writing = pipe
    handler = QueuedHandler(writing)
    try:
        raise ValueError("two\nlines")  # noqa: TRY301
    except ValueError:
        logger_to(handler).exception("failed")
    handler.close()
    os.close(writing)
    (record,) = records_until_end(reader)
    assert record["exception"].endswith("ValueError: two\nlines")
