"""The batcher, case by case: a puppet plays the engine and time is simulated."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import DeadlineExpiredError, DrainingError, EngineError, QueueFullError
from server.pipeline.batcher import Answer, Batcher, BatchRecord
from tests.puppet import ItemError, PuppetEngine, nothing_is_left, result_of
from tests.simulated_clock import (
    a_turn,
    at_rest,
    run_simulated,
    simulated,
    simulated_loop,
)

# A power of two, so that times add up exactly and are compared without a tolerance.
TICK = 1 / 64


# --- When a batch starts ------------------------------------------------------------------


@simulated
async def test_without_a_delay_a_free_lane_starts_at_once() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=8)
    callers = [asyncio.create_task(batcher.submit(n)) for n in range(20)]
    await at_rest()
    assert engine.seen == [list(range(8))]
    for size in (8, 8, 4):
        assert len(engine.running[0].items) == size
        engine.running[0].answer()
        await at_rest()
    assert [task.result().result for task in callers] == [result_of(n) for n in range(20)]
    assert simulated_loop().time() == 0


@given(st.integers(1, 100), st.integers(1, 4))
@simulated
async def test_a_free_lane_waits_for_company_no_longer_than_the_delay(
    delay: int, items: int
) -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=8, max_delay_s=delay * TICK)
    callers = [asyncio.create_task(batcher.submit(n)) for n in range(items)]
    await asyncio.sleep((delay - 0.5) * TICK)
    assert engine.batches == []
    await asyncio.sleep(0.5 * TICK)
    await at_rest()
    assert engine.seen == [list(range(items))]
    engine.running[0].answer()
    assert [answer.queue_s for answer in await asyncio.gather(*callers)] == [delay * TICK] * items


@simulated
async def test_a_full_batch_does_not_wait() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=2, max_delay_s=1000)
    callers = [asyncio.create_task(batcher.submit(n)) for n in range(3)]
    await at_rest()
    assert engine.seen == [[0, 1]]
    engine.running[0].answer()
    await asyncio.gather(*callers[:2])
    callers.append(asyncio.create_task(batcher.submit(3)))
    await at_rest()
    assert engine.seen == [[0, 1], [2, 3]]
    engine.running[0].answer()
    await asyncio.gather(*callers)
    assert simulated_loop().time() == 0


@simulated
async def test_the_urgent_overtake_only_what_still_waits() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=2)
    callers = [asyncio.create_task(batcher.submit(n, priority=1)) for n in range(5)]
    await at_rest()
    callers.append(asyncio.create_task(batcher.submit(5, priority=0)))
    await at_rest()
    while engine.running:
        engine.running[0].answer()
        await at_rest()
    assert engine.seen == [[0, 1], [5, 2], [3, 4]]
    await asyncio.gather(*callers)


@simulated
async def test_lanes_work_at_the_same_time() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=1, lanes=3)
    callers = [asyncio.create_task(batcher.submit(n)) for n in range(5)]
    await at_rest()
    assert [batch.items for batch in engine.running] == [[0], [1], [2]]
    engine.running[1].answer()
    await at_rest()
    assert [batch.items for batch in engine.running] == [[0], [2], [3]]
    while engine.running:
        engine.running[0].answer()
        await at_rest()
    await asyncio.gather(*callers)


# --- Leaving ------------------------------------------------------------------------------


@simulated
async def test_a_neighbour_who_leaves_a_running_batch_harms_nobody() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=4)
    callers = [asyncio.create_task(batcher.submit(n)) for n in range(4)]
    await at_rest()
    callers[1].cancel()
    await at_rest()
    assert callers[1].cancelled()
    engine.running[0].answer()
    stay = [callers[n] for n in (0, 2, 3)]
    assert [a.result for a in await asyncio.gather(*stay)] == [result_of(n) for n in (0, 2, 3)]
    await at_rest()
    nothing_is_left(batcher)


@simulated
async def test_leaving_in_the_moment_of_the_answer_harms_nobody() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=4)
    callers = [asyncio.create_task(batcher.submit(n)) for n in range(4)]
    await at_rest()
    engine.running[0].answer()
    callers[0].cancel()  # before the batcher sees the results
    while not callers[1].done():
        await a_turn()
        callers[2].cancel()  # after it has handed them out, at the latest
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [
        asyncio.CancelledError,
        Answer,
        asyncio.CancelledError,
        Answer,
    ]
    await at_rest()
    nothing_is_left(batcher)


@simulated
async def test_who_leaves_in_the_moment_of_arrival_does_not_reach_the_engine() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=4)
    goes, stays = [asyncio.create_task(batcher.submit(n)) for n in range(2)]
    await a_turn()  # both wait now, and the dispatch is due
    goes.cancel()
    await at_rest()
    assert engine.seen == [[1]]
    engine.running[0].answer()
    assert (await stays).batch_size == 1
    alone = asyncio.create_task(batcher.submit(2))
    await a_turn()
    alone.cancel()
    await at_rest()
    assert engine.seen == [[1]]
    nothing_is_left(batcher)


@simulated
async def test_who_leaves_in_the_moment_a_lane_frees_does_not_reach_the_engine() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=1)
    callers = [asyncio.create_task(batcher.submit(n)) for n in range(3)]
    await at_rest()
    engine.running[0].answer()
    while batcher.depth == 2:
        await a_turn()
    callers[1].cancel()
    await at_rest()
    assert engine.seen == [[0], [2]]
    engine.running[0].answer()
    assert (await callers[2]).result == result_of(2)


@simulated
async def test_the_cancelled_leave_nothing_behind_while_the_engine_is_stuck() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=1, queue_limit=100)
    stuck = asyncio.create_task(batcher.submit("stuck"))
    await at_rest()
    for _ in range(100):
        crowd = [asyncio.create_task(batcher.submit(n, deadline=1e6)) for n in range(100)]
        await at_rest()
        assert batcher.depth == 100
        for task in crowd:
            task.cancel()
        await at_rest()
        assert batcher.depth == 0
        assert len(batcher._futures) == 1
        assert set(simulated_loop().leftovers()) == {*batcher._running, stuck}
    engine.running[0].answer()
    await stuck
    await at_rest()
    assert engine.seen == [["stuck"]]
    nothing_is_left(batcher)


# --- Deadlines and limits -----------------------------------------------------------------


@simulated
async def test_a_deadline_in_the_queue_ends_the_wait_on_time() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=1)
    stuck = asyncio.create_task(batcher.submit(0))
    await at_rest()
    with pytest.raises(DeadlineExpiredError):
        await batcher.submit(1, deadline=3.0)
    assert simulated_loop().time() == 3.0
    assert batcher.depth == 0
    engine.running[0].answer()
    await stuck
    await at_rest()
    assert engine.seen == [[0]]
    nothing_is_left(batcher)


@simulated
async def test_a_deadline_that_passes_in_the_engine_leaves_the_answer_alone() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=1)
    caller = asyncio.create_task(batcher.submit(0, deadline=3.0))
    await asyncio.sleep(5.0)
    engine.running[0].answer()
    assert (await caller).result == result_of(0)


@simulated
async def test_a_deadline_in_the_past_is_refused_at_once() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=1)
    await asyncio.sleep(2.0)
    for deadline in (1.0, 2.0):
        with pytest.raises(DeadlineExpiredError):
            await batcher.submit(0, deadline=deadline)
    await at_rest()
    assert engine.batches == []
    nothing_is_left(batcher)


@simulated
async def test_a_full_queue_refuses_until_somebody_leaves() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=1, queue_limit=2)
    callers = [asyncio.create_task(batcher.submit(0))]
    await at_rest()
    callers += [asyncio.create_task(batcher.submit(n)) for n in (1, 2)]
    await at_rest()
    with pytest.raises(QueueFullError):
        await batcher.submit(3)
    callers[1].cancel()
    await at_rest()
    callers.append(asyncio.create_task(batcher.submit(4)))
    await at_rest()
    while engine.running:
        engine.running[0].answer()
        await at_rest()
    assert engine.seen == [[0], [2], [4]]
    nothing_is_left(batcher)


# --- Engines that fail --------------------------------------------------------------------


async def submit_all(batcher: Batcher[object, object], items: Sequence[object]) -> list[object]:
    return await asyncio.gather(*map(batcher.submit, items), return_exceptions=True)


@dataclass
class FragileEngine:
    """Fails whole batches that hold poison."""

    poison: frozenset[int]
    runs: list[list[int]] = field(default_factory=list)

    async def __call__(self, items: Sequence[int]) -> list[str]:
        self.runs.append(list(items))
        if bad := self.poison.intersection(items):
            raise ItemError(min(bad))
        return [result_of(item) for item in items]


@pytest.mark.parametrize("culprit", range(8))
@simulated
async def test_a_poisoned_item_fails_alone(culprit: int) -> None:
    engine = FragileEngine(frozenset({culprit}))
    batcher = Batcher(engine, max_batch_size=8)
    outcomes = await submit_all(batcher, range(8))
    error = outcomes.pop(culprit)
    assert isinstance(error, ItemError)
    assert error.number == culprit
    assert [answer.result for answer in outcomes] == [
        result_of(n) for n in range(8) if n != culprit
    ]
    assert len(engine.runs) <= 15
    await at_rest()
    nothing_is_left(batcher)


@simulated
async def test_a_wholly_poisoned_batch_ends_after_a_bounded_number_of_runs() -> None:
    engine = FragileEngine(frozenset(range(8)))
    outcomes = await submit_all(Batcher(engine, max_batch_size=8), range(8))
    assert [error.number for error in outcomes] == list(range(8))
    assert len(engine.runs) == 15


@pytest.mark.parametrize("wrong", [[], ["only one"], ["one", "too", "many"], None])
@simulated
async def test_a_wrong_number_of_outcomes_mixes_nobody_up(wrong: list[str] | None) -> None:
    """A pair is answered wrongly and each alone rightly."""
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=2)
    callers = asyncio.create_task(submit_all(batcher, [0, 1]))
    await at_rest()
    engine.running[0].ending.set_result(wrong)
    await at_rest()
    while engine.running:
        engine.running[0].answer()
        await at_rest()
    assert [answer.result for answer in await callers] == [result_of(0), result_of(1)]
    assert engine.seen == [[0, 1], [0], [1]]


@simulated
async def test_a_wrong_number_of_outcomes_for_one_item_is_its_error() -> None:
    engine = PuppetEngine()
    caller = asyncio.create_task(submit_all(Batcher(engine, max_batch_size=2), [0]))
    await at_rest()
    engine.running[0].answer([1, 2])
    (error,) = await caller
    assert isinstance(error, RuntimeError)


@simulated
async def test_an_exception_for_one_item_is_that_items_answer() -> None:
    engine = PuppetEngine()
    callers = asyncio.create_task(submit_all(Batcher(engine, max_batch_size=3), range(3)))
    await at_rest()
    engine.running[0].answer(["first", ItemError(1), "third"])
    first, second, third = await callers
    assert (first.result, third.result) == ("first", "third")
    assert isinstance(second, ItemError)
    assert len(engine.batches) == 1


@simulated
async def test_an_outcome_that_no_future_takes_leaves_nobody_waiting() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=3)
    callers = asyncio.create_task(submit_all(batcher, range(3)))
    await at_rest()
    engine.running[0].answer(["first", StopIteration(), "third"])
    first, second, third = await callers
    assert first.result == "first"
    assert isinstance(second, Exception)
    assert isinstance(third, Answer | EngineError)
    await at_rest()
    nothing_is_left(batcher)


@simulated
async def test_equal_items_get_one_answer_each() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=4)
    callers = asyncio.create_task(submit_all(batcher, ["same"] * 4))
    await at_rest()
    engine.running[0].answer(["a", "b", "c", "d"])
    assert [answer.result for answer in await callers] == ["a", "b", "c", "d"]


@simulated
async def test_a_failing_observer_loses_neither_a_lane_nor_an_answer() -> None:
    engine = PuppetEngine()

    def observe(_record: BatchRecord) -> None:
        raise RuntimeError("observer")

    batcher = Batcher(engine, max_batch_size=2, on_batch=observe)
    callers = asyncio.create_task(submit_all(batcher, range(4)))
    for _ in range(2):
        await at_rest()
        engine.running[0].answer()
    assert [answer.result for answer in await callers] == [result_of(n) for n in range(4)]
    await at_rest()
    nothing_is_left(batcher)


# --- A lane that is cancelled -------------------------------------------------------------


@simulated
async def test_a_cancelled_lane_answers_its_callers_and_serves_on() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=2)
    callers = asyncio.create_task(submit_all(batcher, range(3)))
    await at_rest()
    (lane,) = batcher._running
    lane.cancel()
    await at_rest()
    engine.running[0].answer()
    *stopped, served = await callers
    assert [type(outcome) for outcome in stopped] == [DrainingError] * 2
    assert served.result == result_of(2)
    await at_rest()
    nothing_is_left(batcher)


@simulated
async def test_a_lane_cancelled_before_it_ran_answers_its_callers_and_serves_on() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=2)
    callers = asyncio.create_task(submit_all(batcher, range(3)))
    while not batcher._running:
        await a_turn()
    (lane,) = batcher._running
    lane.cancel()
    await at_rest()
    assert engine.seen == [[2]]
    engine.running[0].answer()
    *stopped, served = await callers
    assert [type(outcome) for outcome in stopped] == [DrainingError] * 2
    assert served.result == result_of(2)
    await at_rest()
    nothing_is_left(batcher)


@simulated
async def test_an_engine_that_is_cancelled_inside_answers_its_callers() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=2)
    callers = asyncio.create_task(submit_all(batcher, range(2)))
    await at_rest()
    engine.running[0].ending.cancel()
    assert [type(outcome) for outcome in await callers] == [DrainingError] * 2
    await at_rest()
    nothing_is_left(batcher)


def test_the_end_of_the_loop_ends_every_task() -> None:
    """As ``asyncio.run`` does when the main task fails with work under way."""
    engine = PuppetEngine()

    async def fail_at_work() -> None:
        batcher = Batcher(engine, max_batch_size=1, lanes=2)
        callers = [asyncio.create_task(batcher.submit(n)) for n in range(5)]
        await at_rest()
        assert len(engine.running) == 2
        callers.append(asyncio.create_task(batcher.submit(5)))
        await a_turn()
        raise KeyError("main")

    with pytest.raises(KeyError):
        run_simulated(fail_at_work())
    assert engine.seen == [[0], [1]]


# --- Draining -----------------------------------------------------------------------------


@simulated
async def test_draining_answers_what_was_accepted_and_refuses_the_rest() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=4, max_delay_s=1000)
    callers = asyncio.create_task(submit_all(batcher, range(6)))
    await at_rest()
    drains = [asyncio.create_task(batcher.drain()) for _ in range(2)]
    await at_rest()
    with pytest.raises(DrainingError):
        await batcher.submit(6)
    assert engine.seen == [[0, 1, 2, 3]]
    for _ in range(2):
        assert not any(drain.done() for drain in drains)
        engine.running[0].answer()
        await at_rest()
    await asyncio.gather(*drains)
    assert [answer.result for answer in await callers] == [result_of(n) for n in range(6)]
    assert simulated_loop().time() == 0
    nothing_is_left(batcher)


@simulated
async def test_draining_does_not_wait_for_company() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=4, max_delay_s=1000)
    caller = asyncio.create_task(batcher.submit(0))
    await at_rest()
    assert engine.batches == []
    drain = asyncio.create_task(batcher.drain())
    await at_rest()
    engine.running[0].answer()
    await drain
    assert (await caller).result == result_of(0)
    assert simulated_loop().time() == 0


@simulated
async def test_draining_waits_for_a_batch_whose_callers_have_left() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=4)
    caller = asyncio.create_task(batcher.submit(0))
    await at_rest()
    caller.cancel()
    await at_rest()
    drain = asyncio.create_task(batcher.drain())
    await asyncio.sleep(5.0)
    assert not drain.done()
    engine.running[0].answer()
    await drain
    nothing_is_left(batcher)


@simulated
async def test_draining_ends_when_the_last_waiting_caller_leaves_or_expires() -> None:
    engine = PuppetEngine()
    batcher = Batcher(engine, max_batch_size=1)
    callers = [asyncio.create_task(batcher.submit(0))]
    await at_rest()
    callers += [
        asyncio.create_task(batcher.submit(1)),
        asyncio.create_task(batcher.submit(2, deadline=2.0)),
    ]
    await at_rest()
    drain = asyncio.create_task(batcher.drain())
    callers[1].cancel()
    await asyncio.sleep(2.0)
    engine.running[0].answer()
    await drain
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [
        Answer,
        asyncio.CancelledError,
        DeadlineExpiredError,
    ]
    assert engine.seen == [[0]]
    nothing_is_left(batcher)


@simulated
async def test_draining_an_unused_batcher_returns_at_once() -> None:
    batcher = Batcher(PuppetEngine(), max_batch_size=1)
    await batcher.drain()
    assert simulated_loop().time() == 0
    nothing_is_left(batcher)
