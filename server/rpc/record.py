"""A record of requests with their arrival times, to be replayed: sampled and bounded.

Off unless the operator names a folder. A request leaves its image behind unless its sender
allows it to be kept, and always its routing key. A thread writes; what it has no time for is
counted and left out.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from google.protobuf import proto
from google.rpc import status_pb2

from proto.classify.v1 import classify_pb2, record_pb2
from server.pipeline.offload import Offload
from server.rpc.translate import MAX_TOP_K
from server.telemetry.request_log import is_among

log = logging.getLogger(__name__)

SUFFIX = ".requests"
_SEGMENTS = 16  # files that the budget is spread over: the oldest goes when it is spent
_WAITING = 4096
_WAITING_BYTES = 64 * 2**20
_NANOSECONDS = 1e9

Outcome = classify_pb2.ClassifyResponse | status_pb2.Status


@dataclass(frozen=True)
class RecordPolicy:
    """What is recorded.

    Attributes:
        folder: Where; made if it is missing.
        share: Of the requests, 0 to 1, by a hash of their ids.
        budget_bytes: Most bytes of the record; the oldest requests make room for new ones.
    """

    folder: Path
    share: float
    budget_bytes: int


@dataclass(frozen=True)
class Passed:
    """A request that has passed through.

    Attributes:
        method: That brought it.
        request: As it came.
        outcome: What was answered.
        image_bytes: Of its image as it came.
        arrived_s: When it came, in seconds since 1970.
        total_s: From then to the outcome.
    """

    method: str
    request: classify_pb2.ClassifyRequest
    outcome: Outcome
    image_bytes: int
    arrived_s: float
    total_s: float


class Recorder:
    """Writes the record.

    Args:
        policy: What is recorded.
        on_outcome: Called with "recorded", "queue", "too_large" or "failed" for each request of
            the share; from the writing thread, too.
        clock: Seconds since 1970, to name files by.

    Raises:
        OSError: The folder cannot be made or listed.
    """

    def __init__(
        self,
        policy: RecordPolicy,
        on_outcome: Callable[[str], None] = lambda _outcome: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._share = policy.share
        self._on_outcome = on_outcome
        self._segments = _Segments(policy.folder, policy.budget_bytes, clock)
        self._writer: Offload[Passed] = Offload(
            "record", self._write, _WAITING, _WAITING_BYTES, self._segments.flush
        )

    def note(self, request_id: str, passed: Passed) -> None:
        """Record a request if it is among the share; returns at once."""
        if not is_among(request_id, self._share):
            return
        # What it holds while it waits: all of it, also what the record will leave out.
        held_bytes = passed.request.ByteSize() + passed.outcome.ByteSize()
        if not self._writer.offer(passed, held_bytes):
            self._on_outcome("queue")

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._writer.close()
        self._segments.close()

    def _write(self, passed: Passed) -> None:
        try:
            content = BytesIO()
            proto.serialize_length_prefixed(_recorded(passed), content)
            fits = self._segments.append(content.getvalue())
            self._on_outcome("recorded" if fits else "too_large")
        except OSError:
            log.exception("a request could not be recorded")
            self._on_outcome("failed")


class _Segments:
    """Files of a folder that are written one after the other; the oldest makes room."""

    def __init__(self, folder: Path, budget_bytes: int, clock: Callable[[], float]) -> None:
        folder.mkdir(0o700, parents=True, exist_ok=True)  # it may hold what users sent
        self._folder = folder
        self._budget_bytes = budget_bytes
        self._segment_bytes = budget_bytes // _SEGMENTS
        self._clock = clock
        self._sizes = {path: path.stat().st_size for path in sorted(folder.glob("*" + SUFFIX))}
        self._name = max(
            (int(path.stem) for path in self._sizes if path.stem.isdecimal()), default=0
        )
        self._path = self._begin()

    def append(self, content: bytes) -> bool:
        """Write behind what was written last, unless it is larger than the budget.

        Returns:
            Whether it was written.

        Raises:
            OSError: It cannot be.
        """
        if len(content) > self._budget_bytes:
            return False
        if self._sizes[self._path] + len(content) > self._segment_bytes and self._sizes[self._path]:
            full, self._path = self._file, self._begin()
            full.close()  # after the next is there, or nothing could be written any more
        self._make_room(len(content))
        self._file.write(content)
        self._sizes[self._path] += len(content)
        return True

    def flush(self) -> None:
        """Let readers see what was written."""
        try:
            self._file.flush()
        except OSError:
            log.exception("the record could not be written")

    def close(self) -> None:
        """Close the file; an empty one goes."""
        self.flush()
        self._file.close()
        if not self._sizes[self._path]:
            self._path.unlink(missing_ok=True)

    def _begin(self) -> Path:
        self._name = max(self._name + 1, int(self._clock() * _NANOSECONDS))
        path = self._folder / f"{self._name:020}{SUFFIX}"
        self._file = path.open("wb")
        self._sizes[path] = 0
        return path

    def _make_room(self, size: int) -> None:
        for path in list(self._sizes):
            if sum(self._sizes.values()) + size <= self._budget_bytes or path == self._path:
                return
            path.unlink(missing_ok=True)
            del self._sizes[path]


def image_bytes(request: classify_pb2.ClassifyRequest) -> int:
    """Bytes of a request's image, encoded or not."""
    return len(request.image.encoded) or len(request.image.raw.data)


def _recorded(passed: Passed) -> record_pb2.RecordedRequest:
    found = record_pb2.RecordedRequest(
        method=passed.method,
        request=passed.request,
        image_bytes=passed.image_bytes,
        total_us=round(passed.total_s * 1e6),
    )
    found.arrival_time.FromNanoseconds(round(passed.arrived_s * _NANOSECONDS))
    found.request.ClearField("routing_key")
    if found.request.HasField("top_k"):  # a method that asks for tensors may have more
        found.request.top_k = min(found.request.top_k, MAX_TOP_K)
    if not passed.request.may_keep_image:
        found.request.ClearField("image")
    if isinstance(passed.outcome, classify_pb2.ClassifyResponse):
        found.response.CopyFrom(passed.outcome)
        found.response.ClearField("explanation")
    else:
        found.error.CopyFrom(passed.outcome)
    return found
