"""Where requests of a model go that name no version. Immutable: every change is one step."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from server.catalog.policy import LATEST

_GOLDEN_RATIO = 0.6180339887498949  # its multiples modulo 1 fill the unit interval most evenly
_HASH_BYTES = 8


@dataclass(frozen=True)
class Share:
    """A version's share of the requests, 0 to 1."""

    version: int
    share: float


@dataclass(frozen=True)
class Route:
    """One model's.

    Attributes:
        default_label: Which label answers requests that name no version.
        labels: Set by call; they come before those of the repository.
        held_back: Versions that were rolled back: no default, whatever their number.
        canary: The version that is tried, and its share of the requests.
        shadow: The version that is tried on copies, and its share of them.
    """

    default_label: str = LATEST
    labels: Mapping[str, int] = field(default_factory=dict)
    held_back: frozenset[int] = frozenset()
    canary: Share | None = None
    shadow: Share | None = None

    @property
    def candidates(self) -> set[int]:
        """Versions that are not to be the default because they are newest."""
        tried = (share.version for share in (self.canary, self.shadow) if share is not None)
        return {*self.held_back, *tried}

    def default(self, ready: Collection[int], labels: Mapping[str, int]) -> int | None:
        """The version for requests that name none; None when no version is ready."""
        labelled = labels.get(self.default_label)
        if labelled in ready:
            return labelled
        candidates = self.candidates
        settled = [version for version in ready if version not in candidates]
        return max(settled or ready, default=None)

    def without(self, version: int) -> "Route":
        """The route once a version has gone."""
        return replace(
            self,
            labels={name: to for name, to in self.labels.items() if to != version},
            canary=_unless(self.canary, version),
            shadow=_unless(self.shadow, version),
        )


def _unless(share: Share | None, version: int) -> Share | None:
    return None if share is not None and share.version == version else share


class Draws:
    """Points of [0, 1) for requests: by key always the same, without one evenly spread."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()  # by model: another's requests leave no gaps

    def draw(self, model: str, key: str) -> float:
        """The point of one request."""
        if not key:
            self._counts[model] += 1
            return float(self._counts[model] * _GOLDEN_RATIO % 1.0)
        digest = hashlib.blake2b(f"{model}\0{key}".encode(), digest_size=_HASH_BYTES).digest()
        return int.from_bytes(digest) / float(2 ** (8 * _HASH_BYTES))
