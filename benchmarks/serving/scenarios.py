"""What is sent: which photos, how, how many calls in flight."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, Self

from benchmarks.photos import LARGE, SMALL

# One photo a call; one after the other on a stream; several in a call; photos for two models; or
# so many at random times that no server can keep up.
Kind = Literal["unary", "stream", "batch", "pair", "overload"]


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
        kind: How photos are sent.
        images: In a call.
    """

    name: str
    title: str
    photo: tuple[int, int]
    photos: int
    in_flight: tuple[int, ...]
    seconds: float
    kind: Kind = "unary"
    images: int = 1

    @property
    def album(self) -> str:
        """Name the photos: scenarios of the same name send the same ones."""
        return f"{self.photo[0]}x{self.photo[1]}-{self.photos}"

    def only(self, in_flight: Collection[int]) -> Self:
        """Return it with some of its loads; with all if none is named."""
        kept = tuple(number for number in self.in_flight if not in_flight or number in in_flight)
        return replace(self, in_flight=kept)


_SMALL = "photos of 500 x 375, about 48 KB"

SCENARIOS = (
    Scenario("a", _SMALL, SMALL, 20, (1, 16, 64), 4.0),
    Scenario("c", "photos of 4000 x 3000, about 2.4 MB", LARGE, 4, (16,), 6.0),
    Scenario("g-stream", f"{_SMALL}, on a stream", SMALL, 20, (16,), 4.0, "stream"),
    Scenario("g-batch", f"{_SMALL}, 8 in a call", SMALL, 20, (2,), 4.0, "batch", 8),
    Scenario("f", f"{_SMALL}, for two models", SMALL, 20, (16,), 5.0, "pair"),
    Scenario("e", f"{_SMALL}, three times the peak", SMALL, 20, (32,), 8.0, "overload"),
)
