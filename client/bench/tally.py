"""What became of the requests: each is counted once. A request is one image."""

from collections import Counter
from dataclasses import dataclass, field

from client.bench.histogram import Histogram
from client.bench.sender import OK, Answer

_REFUSED = "UNAVAILABLE"


@dataclass(slots=True)
class Tally:
    """The counts of one process, or of all of them together.

    ``sent == warm_up + requests + after + unfinished``.

    Attributes:
        sent: Requests that were sent at all.
        warm_up: Those before the measured window.
        after: Those of a closed loop that were answered after the window.
        unfinished: Those given up because the benchmark was interrupted.
        statuses: The measured ones by status.
        in_time: How many of them were answered OK within the deadline.
        answered: Latencies of those answered OK.
        failed: Latencies of the others.
        refused: Latencies of those among them that were UNAVAILABLE.
        lag: How late calls were sent that were due at a time (open loop).
        batches: Sum over the measured of 1 / size of their batch, where it is known.
        batched: How many those are.
        seconds: Length of the window.
    """

    sent: int = 0
    warm_up: int = 0
    after: int = 0
    unfinished: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    in_time: int = 0
    answered: Histogram = field(default_factory=Histogram)
    failed: Histogram = field(default_factory=Histogram)
    refused: Histogram = field(default_factory=Histogram)
    lag: Histogram = field(default_factory=Histogram)
    batches: float = 0.0
    batched: int = 0
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        """How many requests were measured."""
        return self.statuses.total()

    @property
    def answered_per_s(self) -> float:
        """Requests answered OK a second."""
        return self.statuses[OK] / self.seconds if self.seconds else 0.0

    @property
    def goodput_per_s(self) -> float:
        """Requests answered OK within the deadline a second."""
        return self.in_time / self.seconds if self.seconds else 0.0

    @property
    def mean_batch(self) -> float:
        """Images in the mean batch that the server ran; 0 if it does not tell."""
        return self.batched / self.batches if self.batches else 0.0

    def count(self, answer: Answer, latency_s: float, deadline_s: float | None) -> None:
        """Count a measured request that took `latency_s` seconds."""
        self.statuses[answer.status] += 1
        if answer.status != OK:
            self.failed.record(latency_s)
            if answer.status == _REFUSED:
                self.refused.record(latency_s)
            return
        self.answered.record(latency_s)
        self.in_time += deadline_s is None or latency_s <= deadline_s
        if answer.batch_size > 0:
            self.batches += 1 / answer.batch_size
            self.batched += 1

    def add(self, other: "Tally") -> None:
        """Count what another process counted in the same window."""
        self.sent += other.sent
        self.warm_up += other.warm_up
        self.after += other.after
        self.unfinished += other.unfinished
        self.statuses += other.statuses
        self.in_time += other.in_time
        self.answered.add(other.answered)
        self.failed.add(other.failed)
        self.refused.add(other.refused)
        self.lag.add(other.lag)
        self.batches += other.batches
        self.batched += other.batched
        self.seconds = max(self.seconds, other.seconds)
