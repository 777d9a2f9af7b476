"""Shrinking inputs before refusing: when it happens, and what it keeps, on a simulated clock."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import DeadlineExpiredError, QueueFullError
from server.pipeline.batcher import Answer, Batcher, BatchRecord, Drop, Smaller
from server.pipeline.cost import CostModel
from tests.puppet import nothing_is_left
from tests.simulated_clock import run_simulated, simulated, simulated_loop

TICK = 1 / 64
SPEEDS = (1, 2, 4)  # how many times faster batches are, by step


def cost_of(size: int, step: int = 0) -> float:
    return (8 + 4 * size) * TICK / SPEEDS[step]


def known_cost(step: int = 0) -> CostModel:
    return CostModel({size: cost_of(size, step) for size in range(1, 9)})


@dataclass
class Engine:
    """Takes exactly as long as predicted.

    Attributes:
        batches: Start, step and items of each.
    """

    batches: list[tuple[float, int, list[int]]] = field(default_factory=list)

    def at(self, step: int) -> Smaller[int, int]:
        async def run(items: Sequence[int]) -> list[int]:
            self.batches.append((simulated_loop().time(), step, list(items)))
            await asyncio.sleep(cost_of(len(items), step))
            return list(items)

        return Smaller(run, known_cost(step))


@dataclass
class Story:
    """What became of everybody.

    Attributes:
        answers: By item, with the time of the answer.
        refused: Items that were not answered.
    """

    engine: Engine = field(default_factory=Engine)
    records: list[BatchRecord] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    answers: dict[int, tuple[Answer[int], float]] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)


People = list[tuple[int, int | None]]  # when each comes, and for how long they wait


async def play(people: People, most: int, lanes: int, steps: int) -> Story:
    story, loop = Story(), simulated_loop()
    batcher: Batcher[int, int] = Batcher(
        story.engine.at(0).run_batch,
        max_batch_size=most,
        lanes=lanes,
        cost=known_cost(),
        smaller=[story.engine.at(step) for step in range(1, steps + 1)],
        on_batch=story.records.append,
        on_drop=story.drops.append,
    )

    async def call(number: int, arrives: int, patience: int | None) -> None:
        await asyncio.sleep(arrives * TICK)
        deadline = inf if patience is None else (arrives + patience) * TICK
        try:
            answer = await batcher.submit(number, deadline=deadline)
        except (QueueFullError, DeadlineExpiredError):
            story.refused.add(number)
        else:
            story.answers[number] = answer, loop.time()

    await asyncio.gather(*(call(n, *person) for n, person in enumerate(people)))
    await batcher.drain()
    nothing_is_left(batcher, lanes)
    return story


crowds = st.lists(
    st.tuples(st.integers(0, 100), st.one_of(st.none(), st.integers(1, 160))), max_size=60
)


@settings(max_examples=200)
@given(crowds, st.integers(1, 8), st.integers(1, 3), st.integers(1, 2))
def test_who_is_admitted_is_answered_in_time_and_told_how(
    people: People, most: int, lanes: int, steps: int
) -> None:
    story = run_simulated(play(people, most, lanes, steps))
    assert story.answers.keys() | story.refused == set(range(len(people)))
    step_of = {item: step for _, step, items in story.engine.batches for item in items}
    assert step_of.keys() == story.answers.keys()
    for number, (answer, at) in story.answers.items():
        assert answer.step == step_of[number]
        assert answer.predicted_s == answer.run_s == cost_of(answer.batch_size, answer.step)
        _, patience = people[number]
        tried = patience is not None and patience * TICK < cost_of(1, steps)  # by an idle engine
        assert patience is None or tried or at <= sum(people[number]) * TICK + 1e-9  # type: ignore[arg-type]


@settings(max_examples=200)
@given(crowds, st.integers(1, 8), st.integers(1, 3))
def test_nothing_shrinks_where_all_would_be_answered_in_time_without(
    people: People, most: int, lanes: int
) -> None:
    whole = run_simulated(play(people, most, lanes, steps=0))
    in_time = all(
        people[number][1] is None or at <= sum(people[number]) * TICK + 1e-9  # type: ignore[arg-type]
        for number, (_, at) in whole.answers.items()
    )
    if whole.drops or not in_time:
        return
    shrinkable = run_simulated(play(people, most, lanes, steps=2))
    assert [record.step for record in shrinkable.records] == [0] * len(shrinkable.records)
    assert shrinkable.answers == whole.answers


@simulated
async def test_inputs_shrink_no_further_than_needed_and_for_no_longer() -> None:
    patience = 70  # whole, two batches of four in a row are in time, and no third one
    crowd: People = [(0, patience)] * 4 + [(1, patience)] * 8
    story = await play([*crowd, (200, patience)], most=4, lanes=1, steps=2)
    assert story.refused == set()
    # The first ran already; those behind need half, not a quarter; later there is time again.
    assert [step for _, step, _ in story.engine.batches] == [0, 1, 1, 0]
    alone = await play([*crowd, (200, patience)], most=4, lanes=1, steps=0)
    assert alone.refused


@simulated
async def test_who_leaves_takes_the_need_to_shrink_along() -> None:
    engine = Engine()
    batcher: Batcher[int, int] = Batcher(
        engine.at(0).run_batch, max_batch_size=1, cost=known_cost(), smaller=[engine.at(1)]
    )
    running = asyncio.ensure_future(batcher.submit(0))
    await asyncio.sleep(TICK)
    patient = asyncio.ensure_future(batcher.submit(1))
    hasty = asyncio.ensure_future(batcher.submit(2, deadline=simulated_loop().time() + 27 * TICK))
    await asyncio.sleep(TICK)
    hasty.cancel()
    await asyncio.gather(running, patient, hasty, return_exceptions=True)
    assert [step for _, step, _ in engine.batches] == [0, 0]


@simulated
async def test_steps_may_be_taken_away_while_somebody_counts_on_them() -> None:
    engine = Engine()
    batcher: Batcher[int, int] = Batcher(
        engine.at(0).run_batch, max_batch_size=1, cost=known_cost(), smaller=[engine.at(1)]
    )
    running = asyncio.ensure_future(batcher.submit(0))
    await asyncio.sleep(TICK)
    hasty = asyncio.ensure_future(batcher.submit(1, deadline=simulated_loop().time() + 22 * TICK))
    await asyncio.sleep(TICK)
    batcher.shrink_by([])
    await asyncio.gather(running, hasty)  # an idle engine tries even what may be late
    assert [step for _, step, _ in engine.batches] == [0, 0]
