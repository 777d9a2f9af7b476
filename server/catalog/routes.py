"""Where requests of a model go that name no version. Immutable: every change is one step."""

import hashlib
import itertools
from collections.abc import Collection, Iterator, Mapping
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
    """

    default_label: str = LATEST
    labels: Mapping[str, int] = field(default_factory=dict)
    held_back: frozenset[int] = frozenset()
    canary: Share | None = None

    @property
    def candidates(self) -> set[int]:
        """Versions that are not to be the default because they are newest."""
        return {*self.held_back, *((self.canary.version,) if self.canary else ())}

    def default(self, ready: Collection[int], labels: Mapping[str, int]) -> int | None:
        """The version for requests that name none; None when no version is ready."""
        labelled = labels.get(self.default_label)
        if labelled in ready:
            return labelled
        settled = [version for version in ready if version not in self.candidates]
        return max(settled or ready, default=None)

    def without(self, version: int) -> "Route":
        """The route once a version has gone."""
        canary = self.canary
        return replace(
            self,
            labels={name: to for name, to in self.labels.items() if to != version},
            canary=None if canary is not None and canary.version == version else canary,
        )


class Draws:
    """Points of [0, 1) for requests: by key always the same, without one evenly spread."""

    def __init__(self) -> None:
        self._count: Iterator[int] = itertools.count(1)

    def draw(self, model: str, key: str) -> float:
        """The point of one request."""
        if not key:
            return float(next(self._count) * _GOLDEN_RATIO % 1.0)
        digest = hashlib.blake2b(f"{model}\0{key}".encode(), digest_size=_HASH_BYTES).digest()
        return int.from_bytes(digest) / float(2 ** (8 * _HASH_BYTES))
