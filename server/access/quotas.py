"""How much each client may ask for: images a second, and images at the same time.

The rate is a token bucket that holds one second's worth. Knows no clock of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from server.errors import QuotaError

_MOST_REMEMBERED = 10_000
_WAIT_FOR_ROOM_S = 0.1  # an image takes about this long


@dataclass(frozen=True)
class Limits:
    """What one client may ask for.

    Attributes:
        rate_per_s: Images a second.
        concurrency: Images at the same time.
    """

    rate_per_s: float = inf
    concurrency: float = inf


class Quota:
    """One client's use of its limits."""

    def __init__(self, name: str, limits: Limits, clock: Callable[[], float]) -> None:
        self._name = name
        self._limits = limits
        self._clock = clock
        self._most = max(1.0, limits.rate_per_s)
        self._left = self._most
        self._filled_at = clock()
        self._active = 0

    @property
    def name(self) -> str:
        """The client's."""
        return self._name

    @property
    def limits(self) -> Limits:
        """What the client may ask for."""
        return self._limits

    @property
    def idle(self) -> bool:
        """Whether forgetting the client would forget nothing."""
        self._fill()
        return self._active == 0 and self._left >= self._most

    def image(self) -> "_Place":
        """Hold one image's place inside a with block.

        Raises:
            QuotaError: There is none, or too many came in the last second.
        """
        if self._active >= self._limits.concurrency:
            raise QuotaError(
                f"client {self._name} has {self._active} images under way;"
                f" at most {self._limits.concurrency} are allowed",
                _WAIT_FOR_ROOM_S,
            )
        self.count()
        return _Place(self)

    def take_place(self) -> None:
        """One more image is under way."""
        self._active += 1

    def give_place_back(self) -> None:
        """One image less is under way."""
        self._active -= 1

    def count(self) -> None:
        """Count one image or call against the rate.

        Raises:
            QuotaError: Too many came in the last second.
        """
        if self._limits.rate_per_s == inf:
            return
        self._fill()
        if self._left < 1.0:
            raise QuotaError(
                f"client {self._name} may send {self._limits.rate_per_s:g} requests a second",
                (1.0 - self._left) / self._limits.rate_per_s,
            )
        self._left -= 1.0

    def uncount(self) -> None:
        """Take back a :meth:`count`: the image or call will come again."""
        self._fill()
        self._left = min(self._most, self._left + 1.0)

    def _fill(self) -> None:
        now = self._clock()
        if self._limits.rate_per_s < inf:
            gained = (now - self._filled_at) * self._limits.rate_per_s
            self._left = min(self._most, self._left + gained)
        self._filled_at = now


class _Place:
    """One image's, inside a with block; contextlib's way to write it takes four times as long."""

    __slots__ = ("_quota",)

    def __init__(self, quota: Quota) -> None:
        self._quota = quota

    def __enter__(self) -> None:
        self._quota.take_place()

    def __exit__(self, *_error: object) -> None:
        self._quota.give_place_back()


class Quotas:
    """Every client's quota, by name. Clients that rest are forgotten when there are too many.

    Args:
        limits: For clients that have none of their own.
        clock: Seconds, never going back.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._quotas: dict[str, Quota] = {}

    def of(self, name: str, own: Limits | None = None) -> Quota:
        """The quota of ``name``; its use is kept unless its limits have changed."""
        limits = own or self._limits
        quota = self._quotas.get(name)
        if quota is None or quota.limits != limits:
            if len(self._quotas) >= _MOST_REMEMBERED:
                self._forget()
            quota = self._quotas[name] = Quota(name, limits, self._clock)
        return quota

    def _forget(self) -> None:
        self._quotas = {name: quota for name, quota in self._quotas.items() if not quota.idle}
