"""What is sent: which photos, how many calls in flight."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Self

from benchmarks.photos import LARGE, SMALL


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load.

    Attributes:
        name: In results and tables.
        title: For people.
        photo: Width and height in pixels.
        photos: How many different ones.
        in_flight: Calls that are open, one measurement for each.
        seconds: Of each measurement.
    """

    name: str
    title: str
    photo: tuple[int, int]
    photos: int
    in_flight: tuple[int, ...]
    seconds: float

    def only(self, in_flight: Collection[int]) -> Self:
        """Return it with some of its loads; with all if none is named."""
        kept = tuple(number for number in self.in_flight if not in_flight or number in in_flight)
        return replace(self, in_flight=kept)


SCENARIOS = (
    Scenario("a", "photos of 500 x 375, about 48 KB", SMALL, 20, (1, 16, 64), 4.0),
    Scenario("c", "photos of 4000 x 3000, about 2.4 MB", LARGE, 4, (16,), 6.0),
)
