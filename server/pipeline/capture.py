"""Photos worth learning from, kept by a thread of their own, on disk or in an object store.

Off unless the operator names a place, and of each photo unless its sender allows it. What the
thread has no time for is dropped and counted; answering never waits.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from models.errors import StoreError
from server.pipeline.offload import Offload
from server.pipeline.shelves import shelf_at

log = logging.getLogger(__name__)

_WAITING = 64
_SUFFIXES = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"), (b"RIFF", ".webp"))
_BURST = 10  # photos that may come at once


@dataclass(frozen=True)
class CapturePolicy:
    """What may be kept.

    Attributes:
        place: Where: a folder, which is made if it is missing, or the URL of a store.
        per_minute: Most photos a minute; corrected ones are not counted.
        budget_bytes: Most bytes there, of what lay there at the start and what was kept since.
    """

    place: Path | str
    per_minute: float
    budget_bytes: int


@dataclass(frozen=True)
class Captured:
    """A photo and what was said of it; the JSON file beside it has all but ``image``.

    Attributes:
        image: The encoded file as it came.
        request_id: Of its request.
        model: Who answered.
        version: Its version.
        digest: Its artifact.
        predicted: Id of the best label.
        score: Of that label.
        reasons: "uncertain", "novel", "corrected".
        true_label: What a person said it is; empty if nobody did.
        comment: What they wrote.
    """

    image: bytes
    request_id: str
    model: str
    version: str
    digest: str
    predicted: str
    score: float
    reasons: tuple[str, ...]
    true_label: str = ""
    comment: str = ""


class Capture:
    """Writes captured photos.

    Args:
        policy: What may be kept.
        on_outcome: Called with "kept", "rate", "budget", "queue" or "failed" for each photo;
            from the writing thread, too.
        clock: Seconds.

    Raises:
        OSError: The folder cannot be made or listed.
        StoreError: The store cannot be listed.
        ImportError: A store needs the extra "stores", which is not installed.
    """

    def __init__(
        self,
        policy: CapturePolicy,
        on_outcome: Callable[[str], None] = lambda _outcome: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._on_outcome = on_outcome
        self._clock = clock
        self._allowance, self._refilled = float(_BURST), clock()
        self._shelf = shelf_at(policy.place)
        sizes = self._shelf.sizes()
        self._names, self._used_bytes = set(sizes), sum(sizes.values())
        self._writer: Offload[Captured] = Offload("capture", self._keep, _WAITING)

    def offer(self, photo: Captured) -> bool:
        """Keep a photo if the policy has room for it; returns at once."""
        if not photo.true_label and not self._takes_one():
            self._on_outcome("rate")
            return False
        if not self._writer.offer(photo):
            self._on_outcome("queue")
            return False
        return True

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._writer.close()

    def _takes_one(self) -> bool:
        now = self._clock()
        gained = (now - self._refilled) * self._policy.per_minute / 60
        self._allowance, self._refilled = min(_BURST, self._allowance + gained), now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _keep(self, photo: Captured) -> None:
        try:
            self._on_outcome("kept" if self._write(photo) else "budget")
        except (OSError, StoreError):
            log.exception("a photo could not be kept")
            self._on_outcome("failed")

    def _write(self, photo: Captured) -> bool:
        name = hashlib.sha256(photo.image).hexdigest()
        suffix = next((end for start, end in _SUFFIXES if photo.image.startswith(start)), ".bin")
        file = name + suffix
        if file not in self._names:
            if self._used_bytes + len(photo.image) > self._policy.budget_bytes:
                return False
            self._shelf.put(file, photo.image)
            self._names.add(file)
            self._used_bytes += len(photo.image)
        facts = {key: value for key, value in asdict(photo).items() if key != "image"}
        self._shelf.put(name + ".json", json.dumps({**facts, "file": file}).encode())
        return True
