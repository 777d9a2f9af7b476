"""One log line for a share of the requests, and for each that failed inside or took long."""

import logging
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger(__name__)

_HASHES = 2**32
# Under overload every request is slow; a few lines a second say as much as all of them.
_SLOW_LINES_A_SECOND = 10


class Steps(Protocol):
    """What a request's steps took, in seconds."""

    @property
    def decode_s(self) -> float: ...  # noqa: D102
    @property
    def queue_s(self) -> float: ...  # noqa: D102
    @property
    def engine_s(self) -> float: ...  # noqa: D102
    @property
    def predicted_s(self) -> float: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def closed_by(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class RequestRecord:
    """A request that has ended.

    Attributes:
        method: Of the API.
        request_id: The caller's, or ours.
        model: Its name; empty when none was found.
        version: Its version, likewise.
        code: The gRPC code, by name.
        total_s: From arrival to answer, in seconds.
        steps: What the steps took; None when it was not classified.
        trace_id: Of the trace it belongs to; empty when it is not traced.
    """

    method: str
    request_id: str
    model: str
    version: str
    code: str
    total_s: float
    steps: Steps | None = None
    trace_id: str = ""


def is_among(request_id: str, share: float) -> bool:
    """Whether a request is among a share of them, 0 to 1, that goes by a hash of its id."""
    return zlib.crc32(request_id.encode()) < share * _HASHES


class RequestLog:
    """Decides which requests get a line, and writes it.

    Args:
        share: Of the requests, 0 to 1. It goes by a hash of the request's id: a call that is
            retried on other replicas is logged by all of them or by none.
        slow_s: Requests that take longer get a line with their steps; 0: none does.
        clock: In seconds.
    """

    def __init__(
        self, share: float, slow_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._share = share
        self._slow_s = slow_s
        self._clock = clock
        self._second = 0
        self._slow_lines = 0
        self._untold = 0

    def write(self, record: RequestRecord) -> None:
        """Log the request if it is among the share, failed inside, or was slow."""
        if self._slow_s and record.total_s >= self._slow_s and self._may_tell_of_slow():
            fields = {**_fields(record), **_steps(record.steps), "untold": self._untold}
            self._untold = 0
            log.warning("slow request", extra={"fields": fields})
        elif record.code == "INTERNAL" or self._is_chosen(record.request_id):
            log.info("request", extra={"fields": _fields(record)})

    def _is_chosen(self, request_id: str) -> bool:
        return log.isEnabledFor(logging.INFO) and is_among(request_id, self._share)

    def _may_tell_of_slow(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._slow_lines = second, 0
        self._slow_lines += 1
        if self._slow_lines <= _SLOW_LINES_A_SECOND:
            return True
        self._untold += 1
        return False


def _fields(record: RequestRecord) -> dict[str, object]:
    fields: dict[str, object] = {
        "method": record.method,
        "request_id": record.request_id,
        "model": record.model,
        "version": record.version,
        "code": record.code,
        "total_ms": _milliseconds(record.total_s),
    }
    if record.trace_id:
        fields["trace_id"] = record.trace_id
    return fields


def _steps(steps: Steps | None) -> dict[str, object]:
    if steps is None:
        return {}
    return {
        "decode_ms": _milliseconds(steps.decode_s),
        "queue_ms": _milliseconds(steps.queue_s),
        "engine_ms": _milliseconds(steps.engine_s),
        "predicted_engine_ms": _milliseconds(steps.predicted_s),
        "batch_size": steps.batch_size,
        "batch_closed_by": steps.closed_by,
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
