"""Warm-up: what is run before the first request, and which times it goes by after."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from models.repository import ModelRepository
from server.pipeline.compile_cache import CompileCache
from server.pipeline.cores import Allotment
from server.pipeline.lane_engine import LaneEngine
from server.pipeline.tuning import TuningSource, TuningStore
from server.pipeline.warm_up import Seconds, Tuning, change, checked_sizes, warmed
from tests.artifacts import TINY_NAME, publish_tiny_artifact

LANES, MOST = 2, 8
FACTS = {"artifact": "ab"}


class ScriptedEngine:
    """Takes as long as the test says; keeps what it ran."""

    def __init__(self, seconds_of: Callable[[int], float]) -> None:
        self.seconds_of = seconds_of
        self.ran: list[tuple[int, int]] = []

    def warm_up(self, sizes: Sequence[int], runs: int) -> Seconds:
        self.ran += [(size, runs) for size in sizes]
        return {size: self.seconds_of(size) for size in sizes}

    @property
    def runs(self) -> int:
        return sum(size * runs for size, runs in self.ran)


async def on_lanes(call: Callable[[int], Seconds]) -> list[Seconds]:
    return [call(lane) for lane in range(LANES)]


def line(size: int) -> float:
    return 0.002 + 0.001 * size


@pytest.fixture
def store(tmp_path: Path) -> TuningStore:
    return TuningStore(CompileCache(tmp_path / "cache"))


async def started(engine: ScriptedEngine, store: TuningStore | None) -> Tuning:
    return await warmed(engine, MOST, LANES, on_lanes, store, FACTS)


async def test_the_second_start_reads_and_still_runs_every_size(store: TuningStore) -> None:
    first, second = ScriptedEngine(line), ScriptedEngine(lambda size: 1.5 * line(size))
    measured = await started(first, store)
    read = await started(second, store)
    assert (measured.source, read.source) == (TuningSource.MEASURED, TuningSource.READ)
    assert {size for size, _ in second.ran} == set(range(1, MOST + 1))
    assert second.runs < first.runs / 2
    # A neighbour slows all sizes alike: known from the first batch on.
    for size in range(1, MOST + 1):
        assert read.cost.predict(size) == pytest.approx(1.5 * measured.cost.predict(size))


@pytest.mark.parametrize(
    "now",
    [
        lambda size: 4.5 * line(size),
        lambda size: 0.4 * line(size),
        lambda size: line(size) * (1.0 if size == 1 else 1.9),
    ],
)
async def test_what_does_not_hold_is_measured_and_kept_anew(
    store: TuningStore, now: Callable[[int], float]
) -> None:
    await started(ScriptedEngine(line), store)
    again = await started(ScriptedEngine(now), store)
    assert again.source is TuningSource.MEASURED
    assert again.cost.predict(3) == pytest.approx(now(3))
    assert (await started(ScriptedEngine(now), store)).source is TuningSource.READ


async def test_one_disturbed_check_is_not_the_end_of_a_table(store: TuningStore) -> None:
    await started(ScriptedEngine(line), store)
    engine = ScriptedEngine(lambda size: line(size) * (9 if len(engine.ran) <= MOST else 1))
    assert (await started(engine, store)).source is TuningSource.READ


async def test_without_a_store_every_start_measures() -> None:
    for _ in range(2):
        assert (await started(ScriptedEngine(line), None)).source is TuningSource.MEASURED


@pytest.mark.parametrize(
    ("most", "sizes"), [(1, [1]), (2, [1, 2]), (8, [1, 2, 8]), (16, [1, 4, 16])]
)
def test_the_ends_of_a_table_and_one_between_are_checked(most: int, sizes: list[int]) -> None:
    assert checked_sizes(most) == sizes
    saved = {size: line(size) for size in range(1, most + 1)}
    assert change(saved, {size: saved[size] for size in sizes}) == 1.0


async def test_an_engine_of_its_lanes_tells_how_its_times_are_known(
    tmp_path: Path, store: TuningStore
) -> None:
    publish_tiny_artifact(tmp_path)
    artifact = ModelRepository(tmp_path).read(TINY_NAME, 1)
    where = (torch.device("cpu"), "fp32")
    for most, lanes in ((2, 2), (2, 1), (3, 1)):  # each another table
        engine = await LaneEngine.load(artifact, *where, most, Allotment(lanes, 1, 1), store)
        assert engine.tuned is TuningSource.MEASURED
        assert engine.cost.known
        engine.close()
