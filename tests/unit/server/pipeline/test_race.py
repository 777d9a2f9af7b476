"""When a compiled engine is worth changing to."""

from collections.abc import Sequence

import pytest
import torch

from server.pipeline.cost import CostModel
from server.pipeline.engine import Scores, Work
from server.pipeline.race import speedups, wins


class BusyEngine:
    """Computes for ``work`` units an image; tells the sizes it saw."""

    def __init__(self, work: int) -> None:
        self._work = work
        self.sizes: list[int] = []

    def run(self, batch: Sequence[Work]) -> list[Scores | Exception]:
        self.sizes.append(len(batch))
        sum(range(self._work * len(batch)))
        return [Scores((0,), (1.0,))] * len(batch)


async def test_both_are_timed_by_turns_and_the_new_one_is_warmed_at_every_size() -> None:
    slow, fast = BusyEngine(400_000), BusyEngine(100_000)

    async def at_once(run) -> float:
        return run()

    gains = await speedups(slow, fast, torch.zeros(3, 8, 8), 5, at_once)
    assert list(gains) == [1, 2, 3, 4, 5]
    assert all(2 < gain < 8 for gain in gains.values())
    assert set(fast.sizes) == {1, 2, 3, 4, 5}
    assert set(slow.sizes) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ({1: 1.5, 8: 1.2}, True),
        ({1: 1.0, 8: 1.01}, False),
        ({1: 2.0, 8: 0.9}, False),
        ({1: 0.97, 8: 1.3}, True),
    ],
)
def test_it_must_win_on_the_whole_and_lose_nowhere(gains: dict[int, float], verdict: bool) -> None:
    assert wins(gains) is verdict


def test_predictions_follow_the_engine_that_takes_over() -> None:
    cost = CostModel({1: 0.01, 2: 0.02, 4: 0.04})
    for _ in range(100):
        cost.observe(4, 0.08)  # a neighbour came, and stays
    cost.speed_up({1: 2.0, 4: 1.6})
    assert cost.predict(1) == pytest.approx(0.01, rel=0.01)
    assert cost.predict(4) == pytest.approx(0.05, rel=0.01)
