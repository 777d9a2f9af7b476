"""The batcher on a simulated clock: every accepted item is answered exactly once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import DeadlineExpiredError, DrainingError, QueueFullError
from server.pipeline.batcher import Batcher, BatchRecord
from tests.simulated_clock import run_simulated


@dataclass
class SlowEngine:
    """Doubles each item; a batch takes a fixed time and one more for each item."""

    fixed_s: float = 1.0
    per_item_s: float = 0.1
    poison: frozenset[int] = frozenset()
    batches: list[list[int]] = field(default_factory=list)
    starts: dict[int, float] = field(default_factory=dict)
    running: int = 0
    most_running: int = 0

    async def run(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        for item in items:
            self.starts.setdefault(item, asyncio.get_running_loop().time())
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(self.fixed_s + self.per_item_s * len(items))
        finally:
            self.running -= 1
        if self.poison & set(items):
            raise ZeroDivisionError("poison")
        return [item * 2 for item in items]


@dataclass(frozen=True)
class Caller:
    at: float
    priority: int
    patience: float
    leaves_after: float


callers = st.builds(
    Caller,
    at=st.integers(0, 40).map(lambda tenths: tenths / 10),
    priority=st.integers(0, 2),
    patience=st.sampled_from([inf, inf, 0.3, 1.5, 4.0]),
    leaves_after=st.sampled_from([inf, inf, inf, 0.2, 1.2]),
)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(callers, max_size=40),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.4]),
    st.integers(1, 3),
    st.integers(3, 50),
)
def test_every_caller_is_answered_exactly_once(
    people: list[Caller], max_batch_size: int, delay: float, lanes: int, queue_limit: int
) -> None:
    engine = SlowEngine()
    records: list[BatchRecord] = []
    outcomes: dict[int, object] = {}
    arrivals: dict[int, float] = {}

    async def call(batcher: Batcher[int, int], number: int, who: Caller) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(who.at)
        arrivals[number] = loop.time()
        try:
            async with asyncio.timeout(who.leaves_after if who.leaves_after < inf else None):
                deadline = loop.time() + who.patience
                answer = await batcher.submit(number, priority=who.priority, deadline=deadline)
            outcome: object = answer.result
            assert answer.batch_size <= max_batch_size
            assert answer.queue_s >= 0
        except TimeoutError:
            outcome = "left"
        except DeadlineExpiredError:
            assert loop.time() == pytest.approx(arrivals[number] + who.patience)
            outcome = "expired"
        except QueueFullError:
            outcome = "full"
        assert number not in outcomes
        outcomes[number] = outcome

    async def scenario() -> None:
        batcher = Batcher(
            engine.run,
            max_batch_size=max_batch_size,
            max_delay_s=delay,
            queue_limit=queue_limit,
            lanes=lanes,
            on_batch=records.append,
        )
        await asyncio.gather(*(call(batcher, n, who) for n, who in enumerate(people)))
        await batcher.drain()
        assert batcher.depth == 0
        assert engine.running == 0
        with pytest.raises(DrainingError):
            await batcher.submit(-1)

    run_simulated(scenario())
    assert outcomes.keys() == set(range(len(people)))
    computed = [item for batch in engine.batches for item in batch]
    assert len(computed) == len(set(computed))
    assert sorted(map(len, engine.batches)) == sorted(record.size for record in records)
    assert all(len(batch) <= max_batch_size for batch in engine.batches)
    assert engine.most_running <= lanes
    for number, outcome in outcomes.items():
        if outcome in ("expired", "full"):
            assert number not in computed
        elif outcome != "left":
            assert outcome == number * 2
    in_order_within_each_priority(people, engine, arrivals)


def in_order_within_each_priority(
    people: list[Caller], engine: SlowEngine, arrivals: dict[int, float]
) -> None:
    for priority in range(3):
        numbers = [n for n in engine.starts if people[n].priority == priority]
        numbers.sort(key=lambda n: (engine.starts[n], arrivals[n]))
        assert [arrivals[n] for n in numbers] == sorted(arrivals[n] for n in numbers)


@settings(deadline=None, max_examples=60)
@given(st.floats(0.01, 2.0), st.integers(1, 4))
def test_an_idle_engine_starts_no_later_than_the_delay(delay: float, items: int) -> None:
    engine = SlowEngine()

    async def scenario() -> None:
        batcher = Batcher(engine.run, max_batch_size=8, max_delay_s=delay)
        await asyncio.gather(*(batcher.submit(item) for item in range(items)))

    run_simulated(scenario())
    assert engine.batches == [list(range(items))]
    assert engine.starts[0] == pytest.approx(delay)


def test_without_a_delay_an_idle_engine_starts_at_once() -> None:
    engine = SlowEngine()

    async def scenario() -> None:
        batcher = Batcher(engine.run, max_batch_size=8)
        await asyncio.gather(*(batcher.submit(item) for item in range(20)))

    run_simulated(scenario())
    assert engine.starts[0] == 0.0
    assert [len(batch) for batch in engine.batches] == [8, 8, 4]


@pytest.mark.parametrize("culprit", range(8))
def test_a_poisoned_item_fails_alone(culprit: int) -> None:
    engine = SlowEngine(poison=frozenset({culprit}))

    async def scenario() -> list[object]:
        batcher = Batcher(engine.run, max_batch_size=8)
        return await asyncio.gather(
            *(batcher.submit(item) for item in range(8)), return_exceptions=True
        )

    outcomes = run_simulated(scenario())
    assert isinstance(outcomes.pop(culprit), ZeroDivisionError)
    assert [answer.result for answer in outcomes] == [2 * n for n in range(8) if n != culprit]
    assert len(engine.batches) <= 15


def test_an_exception_for_one_item_is_that_items_answer() -> None:
    async def run(items: Sequence[int]) -> list[int | Exception]:
        return [ValueError("bad") if item == 1 else item for item in items]

    async def scenario() -> list[object]:
        batcher = Batcher(run, max_batch_size=4)
        return await asyncio.gather(*(batcher.submit(n) for n in range(3)), return_exceptions=True)

    first, second, third = run_simulated(scenario())
    assert (first.result, third.result) == (0, 2)
    assert isinstance(second, ValueError)


def test_a_caller_who_leaves_a_running_batch_harms_nobody() -> None:
    engine = SlowEngine()

    async def scenario() -> list[object]:
        batcher = Batcher(engine.run, max_batch_size=4)
        tasks = [asyncio.ensure_future(batcher.submit(n)) for n in range(4)]
        await asyncio.sleep(0.5)
        tasks[1].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert (await batcher.submit(9)).result == 18
        return outcomes

    outcomes = run_simulated(scenario())
    assert isinstance(outcomes.pop(1), asyncio.CancelledError)
    assert [answer.result for answer in outcomes] == [0, 4, 6]


def test_the_cancelled_leave_nothing_behind_while_the_engine_is_stuck() -> None:
    engine = SlowEngine(fixed_s=1e6)

    async def scenario() -> None:
        batcher = Batcher(engine.run, max_batch_size=1, queue_limit=10)
        stuck = asyncio.ensure_future(batcher.submit(0))
        await asyncio.sleep(1)
        for number in range(1, 1000):
            task = asyncio.ensure_future(batcher.submit(number))
            await asyncio.sleep(0)
            assert batcher.depth == 1
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert batcher.depth == 0
        await stuck

    run_simulated(scenario())
    assert engine.batches == [[0]]


def test_draining_answers_what_was_accepted_without_waiting_for_company() -> None:
    engine = SlowEngine()

    async def scenario() -> float:
        batcher = Batcher(engine.run, max_batch_size=4, max_delay_s=1000)
        waiting = [asyncio.ensure_future(batcher.submit(n)) for n in range(6)]
        await asyncio.sleep(0.1)
        await batcher.drain()
        assert [task.result().result for task in waiting] == [0, 2, 4, 6, 8, 10]
        return asyncio.get_running_loop().time()

    assert run_simulated(scenario()) < 10


def test_draining_waits_for_a_batch_whose_callers_have_left() -> None:
    engine = SlowEngine()

    async def scenario() -> None:
        batcher = Batcher(engine.run, max_batch_size=4)
        task = asyncio.ensure_future(batcher.submit(1))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await batcher.drain()
        assert engine.running == 0

    run_simulated(scenario())
    assert engine.batches == [[1]]


def test_a_failing_observer_loses_neither_a_lane_nor_an_answer() -> None:
    engine = SlowEngine()

    def observe(_record: BatchRecord) -> None:
        raise RuntimeError("observer")

    async def scenario() -> list[int]:
        batcher = Batcher(engine.run, max_batch_size=1, on_batch=observe)
        return [(await batcher.submit(n)).result for n in range(3)]

    assert run_simulated(scenario()) == [0, 2, 4]
