"""What the two streams, blocking and asyncio, share: the plan, the events and the ledger.

A stream has two ends that run at once. One feeds: it takes an item, reads its image and sends
it. The other lands: it waits for answers and hands outcomes to the caller. They meet in one
queue of events, so that the ledger is touched by the landing end alone and needs no lock::

    items ──> feed ──> server ──> answers ──┐
                └── Departed, Refused, Fed ─┴─> events ──> Ledger ──> outcomes

An item takes one of `window` slots before it is taken from the caller's items and gives it
back when its outcome leaves the ledger. That bounds memory, the items that the server sees at
once, and what waits to be put into order.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import uuid4

from client.errors import ClientError, InternalError
from client.images import ImageSource
from client.results import Outcome
from client.retry import RetryThrottle
from client.status import no_answer
from proto.classify.v1 import classify_pb2

K = TypeVar("K")

DEFAULT_WINDOW = 32
# How long to wait for the server to close a stream of which every item is answered.
_GOODBYE_S = 2.0
_LONGEST_RETRY_DELAY_S = 5.0


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """How a stream is run.

    Attributes:
        template: What every request says beside its image and its id.
        address: The server, HOST:PORT, for messages.
        window: The most items between the caller's iterable and the caller, at least 1.
        ordered: Whether outcomes come in the order of the items.
        timeout_s: How long an item may wait for its answer, in seconds; None for ever.
        throttle: The client's; ends retries while most items fail.
        stream_id: Begins the id of every request.
    """

    template: classify_pb2.ClassifyRequest
    address: str
    window: int
    ordered: bool
    timeout_s: float | None
    throttle: RetryThrottle = field(default_factory=RetryThrottle)
    stream_id: str = field(default_factory=lambda: uuid4().hex[:16])

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1, not {self.window}")

    def ticket(self, sequence: int, key: K, source: ImageSource) -> "Ticket[K]":
        """Return the ticket of the item at position `sequence`, from 0."""
        return Ticket(sequence, key, source, f"{self.stream_id}-{sequence}")


@dataclass(frozen=True, slots=True)
class Ticket(Generic[K]):
    """One item on its way: position in the caller's order from 0, key, image, request id."""

    sequence: int
    key: K
    source: ImageSource
    request_id: str


@dataclass(frozen=True, slots=True)
class Ready(Generic[K]):
    """An item whose image is read."""

    ticket: Ticket[K]
    request: classify_pb2.ClassifyRequest


@dataclass(frozen=True, slots=True)
class Refused(Generic[K]):
    """Event: an item that was not sent, because its image cannot be read."""

    ticket: Ticket[K]
    error: ClientError

    @property
    def outcome(self) -> Outcome[K]:
        """The item's outcome."""
        return Outcome(self.ticket.key, error=self.error)


@dataclass(frozen=True, slots=True)
class Departed(Generic[K]):
    """Event: an item is handed to gRPC at `at_s` on the ledger's clock."""

    ticket: Ticket[K]
    at_s: float


@dataclass(frozen=True, slots=True)
class Answered:
    """Event: the server answered an item; the answer was here at `at_s`."""

    result: classify_pb2.ClassifyResult
    at_s: float = field(default_factory=time.monotonic)

    def round_trip_us(self, departed: Departed[K]) -> int:
        """Return how long the item was away, in microseconds."""
        return round((self.at_s - departed.at_s) * 1e6)


@dataclass(frozen=True, slots=True)
class Fed:
    """Event: the caller's items are exhausted."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """Event: nothing happened for as long as the ledger was willing to wait."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Event: the stream is over, by itself or by an error of the call or of the items."""

    error: Exception | None = None


def retry_delay_s(error: ClientError, plan: StreamPlan) -> float | None:
    """Return how long to wait before an item refused in a stream is sent once more by itself,
    in seconds; None if the server did not ask to come back, or not within the timeout, or if
    most items fail."""
    delay_s = getattr(error, "retry_after_s", None)
    if error.code != "UNAVAILABLE":
        return None
    worth_it = plan.throttle.failed()
    longest_s = min(_LONGEST_RETRY_DELAY_S, plan.timeout_s or _LONGEST_RETRY_DELAY_S)
    if not worth_it or not isinstance(delay_s, float) or delay_s > longest_s:
        return None
    return delay_s


class Ledger(Generic[K]):
    """Who is in flight, since when, and whose outcome may leave. Does no input or output.

    Not safe for threads: the landing end owns it.
    """

    def __init__(
        self, plan: StreamPlan, first: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._in_flight: dict[str, Departed[K]] = {}  # oldest first
        self._landed: dict[int, Outcome[K]] = {}  # waiting for their turn
        self._turn = first
        self._last_answer_s = float("-inf")
        self._fed = False
        self.finished = False

    def apply(self, event: Departed[K] | Refused[K] | Fed | Overdue | Ended) -> list[Outcome[K]]:
        """Record an event and return the outcomes that it lets go.

        Raises:
            DeadlineExceededError: The server kept silent for the whole timeout.
            InternalError: The server closed the stream before it had answered everything.
            Exception: Whatever ended the stream.
        """
        match event:
            case Departed():
                self._in_flight[event.ticket.request_id] = event
            case Refused():
                return self.settle(event.ticket, event.outcome)
            case Fed():
                self._fed = True
            case Overdue():
                return self._give_up_oldest()
            case Ended():
                self._end(event.error)
        return []

    def take(self, request_id: str) -> Departed[K] | None:
        """Remove an answered item; None if it was given up before, or never sent."""
        self._last_answer_s = self._clock()
        return self._in_flight.pop(request_id, None)

    def settle(self, ticket: Ticket[K], outcome: Outcome[K]) -> list[Outcome[K]]:
        """Record the outcome of an item and return those whose turn it is now."""
        if not self._plan.ordered:
            return [outcome]
        self._landed[ticket.sequence] = outcome
        ready = []
        while self._turn in self._landed:
            ready.append(self._landed.pop(self._turn))
            self._turn += 1
        return ready

    def patience_s(self) -> float | None:
        """Return how long to wait for the next event, in seconds; None without limit."""
        if not self._in_flight:
            return _GOODBYE_S if self._fed else None
        if self._plan.timeout_s is None:
            return None
        oldest = next(iter(self._in_flight.values()))
        return max(0.0, oldest.at_s + self._plan.timeout_s - self._clock())

    def _give_up_oldest(self) -> list[Outcome[K]]:
        if not self._in_flight:
            self.finished = True
            return []
        request_id, oldest = next(iter(self._in_flight.items()))
        late = no_answer(self._plan.address, self._plan.timeout_s)
        if self._last_answer_s < oldest.at_s:  # nobody was answered: the server is stuck
            raise late
        del self._in_flight[request_id]
        return self.settle(oldest.ticket, Outcome(oldest.ticket.key, error=late))

    def _end(self, error: Exception | None) -> None:
        if error is not None:
            raise error
        if self._in_flight or not self._fed:
            raise InternalError(
                f"{self._plan.address} closed the stream before it had answered everything"
            )
        self.finished = True
