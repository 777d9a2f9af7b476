"""Few are all looked at; of many, some."""

import random

from server.pipeline.thinning import Thinning


class Steady:
    """A clock that goes on by the same step with each look."""

    def __init__(self, step_s: float) -> None:
        self.now, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


def taken(arrivals_per_s: float, arrivals: int, *, per_s: float, burst: float) -> list[int]:
    thinning = Thinning(per_s, burst, Steady(1 / arrivals_per_s), random.Random(1).random)
    return [number for number in range(arrivals) if thinning.takes_one()]


def test_few_are_all_taken() -> None:
    assert len(taken(90, 10_000, per_s=100, burst=200)) == 10_000


def test_a_burst_is_taken_almost_whole() -> None:
    assert len(taken(1e6, 300, per_s=100, burst=400)) == 300


def test_of_many_as_many_a_second_as_may_be() -> None:
    found = taken(1000, 60_000, per_s=100, burst=200)
    assert 60 * 100 <= len(found) <= 60 * 100 + 300  # and the burst


def test_what_is_taken_follows_no_pattern_of_the_traffic() -> None:
    found = [number for number in taken(1000, 60_000, per_s=100, burst=200) if number > 5000]
    # Of traffic that repeats itself after ten: each of these is taken as often as the others.
    shares = [sum(number % 10 == turn for number in found) / len(found) for turn in range(10)]
    assert max(abs(share - 0.1) for share in shares) < 0.02
