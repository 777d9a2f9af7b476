"""Logs as one JSON object a line on stderr, written by a thread of its own.

Whoever logs never waits: lines go through a bounded queue. When nobody reads stderr the
queue fills, when its disk is full what is written is lost; what is left out is counted, and the
count is written once that is possible.
Waking the writer for each line would cost more than the line, so lines below WARNING gather
for a moment.
"""

import json
import logging
import os
import select
import sys
import threading
from collections import deque
from datetime import UTC, datetime

FIELDS = "fields"

_WAITING_LINES = 10_000  # a few megabytes
_GATHER_S = 0.01
_JSON = json.JSONEncoder(default=str)
_LAST_WORDS_S = 2.0  # how long an exit waits for what is still to be written


class JsonFormatter(logging.Formatter):
    """Time (UTC), level, logger, message, and whatever stands in ``extra={"fields": {...}}``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = getattr(record, FIELDS, None)
        if isinstance(fields, dict):
            line.update(fields)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _JSON.encode(line)


class QueuedHandler(logging.Handler):
    """Formats records at once and writes them to a file descriptor when it takes them.

    It writes to the descriptor itself: a thread that is stuck in ``sys.stderr`` would hold
    its lock, and the interpreter could not exit.

    Args:
        descriptor: Where lines go.
        capacity: Lines that may wait.
    """

    def __init__(self, descriptor: int, capacity: int = _WAITING_LINES) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._capacity = capacity
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._counting = threading.Lock()  # two threads count what is dropped
        self._reported = 0
        self._torn = False  # the last line that was written lacks its end
        self._waiting = threading.Event()  # there are lines
        self._urgent = threading.Event()  # they must not gather any longer
        self._ended = False
        self._thread = threading.Thread(target=self._write_all, name="logs", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that found no room."""
        return self._dropped

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's line, or count it as dropped."""
        # Called under the handler's lock, so that the room is not given twice.
        if len(self._lines) >= self._capacity:
            self._drop(1)
            return
        self._lines.append(f"{self.format(record)}\n")
        if record.levelno >= logging.WARNING:
            self._urgent.set()
        if not self._waiting.is_set():
            self._waiting.set()

    def close(self) -> None:
        """Write what waits, for as long as anybody reads but at most 2 seconds."""
        self._ended = True
        self._urgent.set()
        self._waiting.set()
        self._thread.join(_LAST_WORDS_S)
        super().close()

    def _write_all(self) -> None:
        while not self._ended or self._lines:
            self._waiting.wait()
            self._urgent.wait(_GATHER_S)
            # Before looking: what comes from now on wakes this thread again.
            self._waiting.clear()
            self._urgent.clear()
            while self._lines:
                self._write_lines("".join(self._next_lines()).encode())

    def _write_lines(self, lines: bytes) -> None:
        """Write whole lines; those for which there is no room are lost, the server is not."""
        begin = b"\n" if self._torn else b""
        dropped = self._dropped
        data = begin + lines + self._report(dropped - self._reported)
        written = 0
        try:
            while written < len(data):
                written += _write(self._descriptor, data[written:])
            self._reported = dropped
        except OSError:  # nobody will ever read, or the disk is full
            self._drop(lines[max(0, written - len(begin)) :].count(b"\n"))
        if written:
            self._torn = data[written - 1 : written] != b"\n"

    def _drop(self, lines: int) -> None:
        with self._counting:
            self._dropped += lines

    def _next_lines(self) -> list[str]:
        """As many as a pipe takes in one piece: several processes may write to it."""
        lines = [self._lines.popleft()]
        size = len(lines[0])
        while self._lines and size + len(self._lines[0]) <= select.PIPE_BUF:
            size += len(self._lines[0])
            lines.append(self._lines.popleft())
        return lines

    def _report(self, dropped: int) -> bytes:
        """A line about what was dropped since the last one."""
        if not dropped:
            return b""
        record = logging.makeLogRecord(
            {
                "name": __name__,
                "levelno": logging.WARNING,
                "levelname": "WARNING",
                "msg": "log lines were dropped: stderr was read too slowly, or its disk was full",
                FIELDS: {"dropped": dropped},
            }
        )
        return f"{self.format(record)}\n".encode()


def configure_logs(level: str) -> QueuedHandler:
    """Send all logs of ``level`` and above to stderr as JSON."""
    _leave_out_what_is_not_written()
    handler = QueuedHandler(sys.stderr.fileno())
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    return handler


def _leave_out_what_is_not_written() -> None:
    """A record's place in the source, thread, process and task: a quarter of a line's cost.

    Source: Python's Logging HOWTO, "Optimization".
    """
    logging._srcfile = None
    logging.logThreads = False
    logging.logProcesses = False
    logging.logMultiprocessing = False
    if sys.version_info >= (3, 12):
        logging.logAsyncioTasks = False


def _write(descriptor: int, data: bytes) -> int:
    """Write some of it; returns how much."""
    while True:
        try:
            return os.write(descriptor, data)
        except BlockingIOError:  # whoever started the server made its stderr non-blocking
            select.select([], [descriptor], [])
