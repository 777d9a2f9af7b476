"""What differs between two answers to the same requests: labels, scores, latencies."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.rpc import code_pb2

from client.replay.run import OK, Replayed
from proto.classify.v1 import classify_pb2, record_pb2

PERCENTILES = (50.0, 90.0, 99.0)
_MILLISECONDS = 1000.0
_CODE_NAMES: dict[int, str] = {number: name for name, number in code_pb2.Code.items()}


@dataclass(frozen=True, slots=True)
class Figures:
    """How one side fared.

    Attributes:
        statuses: Requests by the name of their gRPC status code.
        versions: Answers by "MODEL VERSION".
        latency_ms: Percentiles of the answered, from when they were due; empty for what was
            recorded, which only the server's own clock knows.
        server_ms: Percentiles of the answered by the server's own clock.
    """

    statuses: dict[str, int]
    versions: dict[str, int]
    latency_ms: dict[float, float]
    server_ms: dict[float, float]


@dataclass(frozen=True, slots=True)
class Change:
    """A request whose best label differs.

    Attributes:
        request_id: Of the recorded answer.
        before: Best label and its score on the reference side.
        now: On the other.
    """

    request_id: str
    before: tuple[str, float]
    now: tuple[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides on the same requests.

    Attributes:
        both: How many were answered on both.
        same: How many of them have the same best label.
        changes: The others, those with the surest new label first.
        mean_difference: Mean absolute difference of the best label's score, where it is the same.
        largest_difference: The largest.
    """

    both: int
    same: int
    changes: tuple[Change, ...]
    mean_difference: float
    largest_difference: float


def of_record(replayed: Sequence[Replayed]) -> Figures:
    """How they fared when they were recorded; those with another image now are left out."""
    answers = [one.recorded for one in replayed if one.recorded.WhichOneof("outcome")]
    statuses = Counter(_recorded_status(one) for one in answers)
    answered = [one.response for one in answers if one.WhichOneof("outcome") == "response"]
    times = [one.total_us / 1e6 for one in answers if one.WhichOneof("outcome") == "response"]
    return Figures(dict(statuses), _versions(answered), {}, percentiles_ms(times))


def of_side(replayed: Sequence[Replayed], side: int) -> Figures:
    """How they fared on a side now."""
    replies = [one.replies[side] for one in replayed]
    answered = [reply.response for reply in replies if reply.response is not None]
    return Figures(
        dict(Counter(reply.status for reply in replies)),
        _versions(answered),
        percentiles_ms([reply.latency_s for reply in replies if reply.status == OK]),
        percentiles_ms([response.timings.total_us / 1e6 for response in answered]),
    )


def against_record(replayed: Sequence[Replayed]) -> Comparison:
    """The first side against what was recorded."""
    return _compare(replayed, lambda one: one.recorded.response)


def against_side(replayed: Sequence[Replayed]) -> Comparison:
    """The first side against the second."""
    return _compare(replayed, lambda one: one.replies[1].response)


def percentiles_ms(seconds: Sequence[float]) -> dict[float, float]:
    """Nearest-rank percentiles in milliseconds; empty without any."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    last = len(ordered) - 1
    return {
        percent: _MILLISECONDS * ordered[min(last, int(percent / 100 * len(ordered)))]
        for percent in PERCENTILES
    }


def _compare(
    replayed: Sequence[Replayed],
    reference: Callable[[Replayed], classify_pb2.ClassifyResponse | None],
) -> Comparison:
    both, changes, differences = 0, [], []
    for one in replayed:
        before, now = _best(reference(one)), _best(one.replies[0].response)
        if before is None or now is None:
            continue
        both += 1
        if before[0] == now[0]:
            differences.append(abs(before[1] - now[1]))
        else:
            changes.append(Change(one.recorded.response.request_id, before, now))
    changes.sort(key=lambda change: -change.now[1])
    mean = sum(differences) / len(differences) if differences else 0.0
    return Comparison(both, len(differences), tuple(changes), mean, max(differences, default=0.0))


def _best(response: classify_pb2.ClassifyResponse | None) -> tuple[str, float] | None:
    if response is None or not response.predictions:
        return None
    return response.predictions[0].id, response.predictions[0].score


def _versions(answered: Sequence[classify_pb2.ClassifyResponse]) -> dict[str, int]:
    return dict(Counter(f"{one.model_name} {one.model_version}" for one in answered))


def _recorded_status(recorded: record_pb2.RecordedRequest) -> str:
    if recorded.WhichOneof("outcome") == "response":
        return OK
    return _CODE_NAMES.get(recorded.error.code, "UNKNOWN")
