"""What became of each request: every id is answered once, and as it should be."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isclose

# Arithmetic differs in the last bits with the size of a batch; photos differ by more than this.
SCORE_TOLERANCE = 1e-4
GIVEN_UP, LOST = "GIVEN_UP", "LOST"
_LATE = {"CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE"}
# CANCELLED is gRPC's own word for a call that reaches a stopping server before a handler has it.
_TAKEN = {"CANCELLED", "UNAVAILABLE"}


@dataclass(frozen=True)
class Photo:
    """An image and what the server must make of it.

    Attributes:
        data: The encoded file.
        code: Of the answer.
        scores: By label, if the code is OK.
    """

    data: bytes
    code: str = "OK"
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Ledger:
    """What became of each request.

    Attributes:
        outcomes: How many ended how: a code, GIVEN_UP for what the client cancelled or gave no
            time, LOST for what a fault took with it.
        ends: The same by id.
        lost: What was said of those that faults took.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    ends: dict[str, str] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    _open: dict[str, Photo] = field(default_factory=dict)
    _excused: set[str] = field(default_factory=set)
    _faults: int = 0

    def send(self, request_id: str, photo: Photo) -> None:
        """Begin a request."""
        known = request_id in self._open or request_id in self.ends
        assert not known, f"{request_id} is sent twice"
        self._open[request_id] = photo
        if self._faults:
            self._excused.add(request_id)

    @contextmanager
    def fault(self) -> Iterator[None]:
        """Requests that are open at any moment of the block may be lost."""
        self._faults += 1
        self._excused.update(self._open)
        try:
            yield
        finally:
            self._faults -= 1

    def answer(
        self,
        request_id: str,
        code: str,
        scores: Mapping[str, float] | None = None,
        *,
        given_up: bool = False,
    ) -> None:
        """End a request.

        Raises:
            AssertionError: It is answered twice, was never sent, or is answered as it may not.
        """
        photo = self._open.pop(request_id, None)
        assert photo is not None, f"{request_id} is answered twice, or was never sent"
        # UNAVAILABLE of what was given up: the server saw that its deadline cannot be met.
        if given_up and code in _LATE:
            end = GIVEN_UP
        elif request_id in self._excused and code in _TAKEN:
            end = LOST
            self.lost[code] += 1
        else:
            assert code == photo.code, f"{request_id}: {code} instead of {photo.code}"
            end = code
        if code == "OK":
            _check(request_id, scores or {}, photo.scores)
        self._excused.discard(request_id)
        self.ends[request_id] = end
        self.outcomes[end] += 1

    @property
    def answered(self) -> int:
        """How many have ended, but for those that faults took."""
        return len(self.ends) - self.outcomes[LOST]

    @property
    def open(self) -> frozenset[str]:
        """Those that have no answer yet."""
        return frozenset(self._open)

    def close(self) -> None:
        """Raises AssertionError if a request has no answer."""
        assert not self._open, f"{len(self._open)} requests have no answer"


def _check(request_id: str, scores: Mapping[str, float], reference: Mapping[str, float]) -> None:
    assert scores.keys() == reference.keys(), f"{request_id}: labels {sorted(scores)}"
    for label, score in scores.items():
        right = isclose(score, reference[label], abs_tol=SCORE_TOLERANCE)
        assert right, f"{request_id}: {label} {score} instead of {reference[label]}"
