"""What the batcher promises where it knows what batches take, on a simulated clock."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import DeadlineExpiredError, QueueFullError
from server.pipeline.admission import QueuePolicy
from server.pipeline.batcher import Answer, Batcher, BatchRecord, Drop
from server.pipeline.cost import CostModel
from server.pipeline.lanes import Lanes
from server.pipeline.queue import CloseReason
from tests.puppet import nothing_is_left
from tests.simulated_clock import run_simulated, simulated, simulated_loop

TICK = 1 / 64


def cost_of(size: int) -> float:
    return (4 + 2 * size) * TICK


def known_cost() -> CostModel:
    return CostModel({size: cost_of(size) for size in range(1, 9)})


@dataclass
class Engine:
    """Takes exactly as long as predicted."""

    batches: list[tuple[float, list[int]]] = field(default_factory=list)

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append((simulated_loop().time(), list(items)))
        await asyncio.sleep(cost_of(len(items)))
        return list(items)


arrivals = st.lists(
    st.tuples(st.integers(0, 100), st.one_of(st.none(), st.integers(1, 120))), max_size=60
)


@settings(max_examples=300)
@given(arrivals, st.integers(1, 8), st.integers(1, 3), st.sampled_from([0, 0, 10, 60]))
def test_who_is_admitted_is_answered_in_time_and_who_is_not_could_not_be(
    people: list[tuple[int, int | None]], max_batch_size: int, lanes: int, max_delay: int
) -> None:
    """With one priority and one client nobody comes in between, so predictions hold."""
    run_simulated(play(people, max_batch_size, lanes, max_delay))


async def play(
    people: list[tuple[int, int | None]], max_batch_size: int, lanes: int, max_delay: int
) -> None:
    engine, loop = Engine(), simulated_loop()
    drops: list[Drop] = []
    batcher: Batcher[int, int] = Batcher(
        engine,
        max_batch_size=max_batch_size,
        max_delay_s=max_delay * TICK,
        lanes=lanes,
        cost=known_cost(),
        on_drop=drops.append,
    )
    late: list[float] = []
    refusals: list[tuple[float, float]] = []  # the deadline, and when to come back

    async def call(number: int, arrives: int, patience: int | None) -> None:
        await asyncio.sleep(arrives * TICK)
        patience_s = inf if patience is None else patience * TICK
        deadline = loop.time() + patience_s
        try:
            await batcher.submit(number, deadline=deadline)
        except QueueFullError as error:
            refusals.append((deadline, loop.time() + error.retry_after_s))
        except DeadlineExpiredError:
            late.append(deadline)
        else:
            # An idle engine tries whatever is not late yet: predictions must be put to the test.
            assert loop.time() <= deadline or patience_s < cost_of(1)

    await asyncio.gather(*(call(n, *person) for n, person in enumerate(people)))
    await batcher.drain()
    nothing_is_left(batcher, lanes)
    assert all(back > 0 for _, back in refusals)
    assert len(refusals) == drops.count(Drop.TOO_LATE)
    assert len(late) == drops.count(Drop.EXPIRED) + drops.count(Drop.HOPELESS)
    ran = [item for _, items in engine.batches for item in items]
    assert len(ran) == len(set(ran)) == len(people) - len(drops)
    for start, items in engine.batches:
        for item in items:
            arrives, patience = people[item]
            deadline = inf if patience is None else (arrives + patience) * TICK
            tried = patience is not None and patience * TICK < cost_of(1)
            assert start + cost_of(1) <= deadline + 1e-9 or tried  # nobody runs for nothing


@simulated
async def test_an_idle_engine_tries_and_a_busy_one_refuses_what_one_run_would_make_late() -> None:
    batcher: Batcher[int, int] = Batcher(Engine(), max_batch_size=8, cost=known_cost())
    now = simulated_loop().time()
    tried = asyncio.ensure_future(batcher.submit(1, deadline=now + cost_of(1) - TICK))
    await asyncio.sleep(TICK)
    with pytest.raises(DeadlineExpiredError, match="nearer than any answer"):
        await batcher.submit(2, deadline=now + cost_of(1))
    assert (await tried).result == 1


@simulated
async def test_the_refused_are_told_when_to_come_back() -> None:
    batcher: Batcher[int, int] = Batcher(Engine(), max_batch_size=4, cost=known_cost())
    calls = [asyncio.ensure_future(batcher.submit(number)) for number in range(12)]
    await asyncio.sleep(TICK)  # four run, eight wait: two more batches, and then a third
    now = simulated_loop().time()
    # In batches of two, since a larger one takes longer than the deadline allows.
    end = now + 1.25 * (cost_of(4) + 5 * cost_of(2) - now)
    with pytest.raises(QueueFullError) as refused:
        await batcher.submit(99, deadline=now + 10 * TICK, priority=1)
    assert refused.value.retry_after_s == pytest.approx(end - (now + 10 * TICK))
    assert (await batcher.submit(99, deadline=end, priority=1)).result == 99
    assert simulated_loop().time() <= end
    await asyncio.gather(*calls)


@simulated
async def test_who_is_in_a_hurry_overtakes_where_nobody_is_late_for_it() -> None:
    batcher: Batcher[int, int] = Batcher(Engine(), max_batch_size=1, cost=known_cost())
    one = cost_of(1)
    running = asyncio.ensure_future(batcher.submit(0))
    await asyncio.sleep(TICK)
    patient = asyncio.ensure_future(batcher.submit(1))
    exact = asyncio.ensure_future(batcher.submit(2, deadline=3.2 * one))
    await asyncio.sleep(TICK)
    with pytest.raises(QueueFullError):  # it would be in time, and the one before it late
        await batcher.submit(3, deadline=3.1 * one)
    assert (await exact).result == 2
    hasty = asyncio.ensure_future(batcher.submit(4, deadline=10 * one))
    await asyncio.gather(hasty, patient, running)
    assert simulated_loop().time() == pytest.approx(4 * one)


@simulated
async def test_the_way_here_counts_as_well() -> None:
    batcher: Batcher[int, int] = Batcher(Engine(), max_batch_size=4, cost=known_cost())
    deadline = simulated_loop().time() + 24 * TICK
    running = asyncio.ensure_future(batcher.submit(0))
    await asyncio.sleep(TICK)
    assert batcher.admit(deadline=deadline) == deadline
    with pytest.raises(QueueFullError):
        batcher.admit(deadline=deadline, before_s=18 * TICK)
    with pytest.raises(QueueFullError, match="9 requests"):
        batcher.admit(deadline=deadline, before=9)
    assert batcher.depth == 0
    await running


@simulated
async def test_a_priority_has_a_limit_and_a_timeout_of_its_own() -> None:
    policies = {2: QueuePolicy(limit=2, timeout_s=30 * TICK)}
    drops: list[Drop] = []
    batcher: Batcher[int, int] = Batcher(
        Engine(), max_batch_size=1, policies=policies, on_drop=drops.append
    )
    running = asyncio.ensure_future(batcher.submit(0))
    await asyncio.sleep(0)
    bulk = [asyncio.ensure_future(batcher.submit(n, priority=2)) for n in range(1, 4)]
    first = [asyncio.ensure_future(batcher.submit(n)) for n in range(4, 10)]
    done = await asyncio.gather(running, *first, *bulk, return_exceptions=True)
    assert all(isinstance(answer, Answer) for answer in done[:7])
    # Behind six urgent ones of 6 ticks each, two bulk items ran out of time; a third found no room.
    assert [type(answer) for answer in done[7:]] == [
        DeadlineExpiredError, DeadlineExpiredError, QueueFullError,
    ]  # fmt: skip
    assert drops == [Drop.QUEUE_FULL, Drop.EXPIRED, Drop.EXPIRED]


@simulated
async def test_answers_and_records_say_why_and_for_how_long() -> None:
    records: list[BatchRecord] = []
    batcher: Batcher[int, int] = Batcher(
        Engine(), max_batch_size=4, max_delay_s=1.0, cost=known_cost(), on_batch=records.append
    )
    deadline = simulated_loop().time() + 30 * TICK
    answer = await batcher.submit(1, deadline=deadline)
    assert answer.reason is CloseReason.DEADLINE
    assert answer.predicted_s == answer.run_s == cost_of(1)
    assert simulated_loop().time() <= deadline
    assert [(record.size, record.reason) for record in records] == [(1, CloseReason.DEADLINE)]


@simulated
async def test_a_quiet_model_is_not_starved_by_a_busy_one() -> None:
    lanes = Lanes(1)
    busy: Batcher[int, int] = Batcher(Engine(), max_batch_size=8, lanes=lanes, cost=known_cost())
    quiet: Batcher[int, int] = Batcher(Engine(), max_batch_size=8, lanes=lanes, cost=known_cost())
    flood = [asyncio.ensure_future(busy.submit(number)) for number in range(800)]
    await asyncio.sleep(TICK)
    arrived = simulated_loop().time()
    await quiet.submit(1)
    # At worst the batch that runs, then its own.
    assert simulated_loop().time() - arrived <= cost_of(8) + cost_of(1)
    await asyncio.gather(*flood)
    nothing_is_left(busy)


@simulated
async def test_a_bulk_job_does_not_starve_a_person() -> None:
    batcher: Batcher[int, int] = Batcher(Engine(), max_batch_size=4, cost=known_cost())
    flood = [asyncio.ensure_future(batcher.submit(n, client="bulk")) for n in range(400)]
    await asyncio.sleep(TICK)
    arrived = simulated_loop().time()
    deadline = arrived + cost_of(4) + 1.25 * cost_of(4)
    assert (await batcher.submit(-1, client="person", deadline=deadline)).result == -1
    assert simulated_loop().time() <= deadline
    await asyncio.gather(*flood)
