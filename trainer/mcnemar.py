"""Whether one of two models is better, from the photos that only one of them gets right."""

from dataclasses import dataclass
from math import comb, sqrt

from torch import Tensor

from trainer.evaluate import Z_95


@dataclass(frozen=True)
class Paired:
    """Two models on the same photos.

    Attributes:
        photos: How many.
        only_first: Photos that only the first gets right.
        only_second: Photos that only the second gets right.
    """

    photos: int
    only_first: int
    only_second: int

    @property
    def difference(self) -> float:
        """Accuracy of the first less that of the second."""
        return (self.only_first - self.only_second) / self.photos

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the difference (Wald's, for paired shares; Agresti, 2002, 10.1.1)."""
        discordant = (self.only_first + self.only_second) / self.photos
        half = Z_95 * sqrt(max(0.0, discordant - self.difference**2) / self.photos)
        return self.difference - half, self.difference + half

    @property
    def p_first_worse(self) -> float:
        """One-sided exact p-value of "the first is no worse" (McNemar 1947, exact binomial)."""
        return _tail(self.only_first + self.only_second, self.only_second)

    @property
    def p_different(self) -> float:
        """Two-sided exact p-value of "both are equally good"."""
        discordant = self.only_first + self.only_second
        return min(1.0, 2 * _tail(discordant, max(self.only_first, self.only_second)))


def pair(first_right: Tensor, second_right: Tensor) -> Paired:
    """From whether each answer is right, bool [n] each."""
    return Paired(
        photos=len(first_right),
        only_first=int((first_right & ~second_right).sum()),
        only_second=int((second_right & ~first_right).sum()),
    )


def _tail(trials: int, successes: int) -> float:
    """P(X >= successes) of a fair coin thrown ``trials`` times."""
    ways = sum(comb(trials, k) for k in range(successes, trials + 1))
    return float(ways / 2**trials)
