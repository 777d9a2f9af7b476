"""The batcher under any schedule of callers, on a simulated clock, against its promises."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import DeadlineExpiredError, DrainingError, QueueFullError
from server.pipeline.batcher import Answer, Batcher, BatchRecord
from server.pipeline.queue import CloseReason
from tests.puppet import ItemError, nothing_is_left, result_of
from tests.simulated_clock import run_simulated, simulated_loop

# A power of two, so that times add up exactly and are compared without a tolerance.
TICK = 1 / 64


class Fate(Enum):
    """What the engine makes of an item."""

    LABELLED = "labelled"
    REFUSED = "refused"  # an exception among the outcomes
    POISON = "poison"  # fails every batch that it is in


@dataclass(frozen=True)
class Caller:
    """Somebody with an item. Times in ticks, the last two counted from the arrival."""

    arrives: int
    priority: int
    fate: Fate
    patience: int | None
    leaves: int | None


@dataclass(frozen=True)
class Rules:
    """The batcher's settings and the engine's speed. Times in ticks."""

    max_batch_size: int
    max_delay: int
    lanes: int
    queue_limit: int
    fixed: int
    per_item: int
    drains: int | None


@dataclass
class Run:
    """One call of the engine."""

    items: list[int]
    start: float
    end: float = inf


@dataclass(frozen=True)
class Ending:
    at: float
    outcome: Answer[str] | BaseException


@dataclass
class World:
    """What happened."""

    rules: Rules
    callers: list[Caller]
    runs: list[Run] = field(default_factory=list)
    records: list[BatchRecord] = field(default_factory=list)
    arrived: dict[int, float] = field(default_factory=dict)  # in order of submission
    depth: dict[int, int] = field(default_factory=dict)  # found on arrival
    left: dict[int, float] = field(default_factory=dict)
    left_while_queued: set[int] = field(default_factory=set)
    endings: dict[int, Ending] = field(default_factory=dict)
    drained_at: float = inf
    refused: set[int] = field(default_factory=set)  # arrived after the drain began
    running: int = 0

    @property
    def batches(self) -> list[Run]:
        """The runs as the batcher formed them, without the halves of a failed one."""
        seen: set[int] = set()
        batches = []
        for run in self.runs:
            if seen.isdisjoint(run.items):
                batches.append(run)
            else:
                assert seen.issuperset(run.items)
            seen.update(run.items)
        return batches

    def deadline(self, number: int) -> float:
        patience = self.callers[number].patience
        return inf if patience is None else self.arrived[number] + patience * TICK

    async def compute(self, items: Sequence[int]) -> list[str | Exception]:
        run = Run(list(items), simulated_loop().time())
        self.runs.append(run)
        self.running += 1
        assert self.running <= self.rules.lanes
        await asyncio.sleep((self.rules.fixed + self.rules.per_item * len(items)) * TICK)
        self.running -= 1
        run.end = simulated_loop().time()
        fates = [self.callers[item].fate for item in items]
        if Fate.POISON in fates:
            raise ItemError(items[fates.index(Fate.POISON)])
        return [
            ItemError(item) if fate is Fate.REFUSED else result_of(item)
            for item, fate in zip(items, fates, strict=True)
        ]

    async def call(self, batcher: Batcher[int, str], number: int) -> None:
        loop = simulated_loop()
        caller = self.callers[number]
        outcome: Answer[str] | BaseException
        try:
            await asyncio.sleep(caller.arrives * TICK)
            self.arrived[number] = loop.time()
            self.depth[number] = batcher.depth
            if loop.time() >= self.drained_at:
                self.refused.add(number)
            outcome = await batcher.submit(
                number, priority=caller.priority, deadline=self.deadline(number)
            )
        except (asyncio.CancelledError, Exception) as error:
            outcome = error
        assert number not in self.endings
        self.endings[number] = Ending(loop.time(), outcome)

    async def leave(self, number: int, task: asyncio.Task[None]) -> None:
        caller = self.callers[number]
        if caller.leaves is None:
            return
        await asyncio.sleep((caller.arrives + caller.leaves) * TICK)
        if task.cancel():
            self.left[number] = simulated_loop().time()
            if not any(number in run.items for run in self.runs):
                self.left_while_queued.add(number)

    async def drain(self, batcher: Batcher[int, str]) -> None:
        if self.rules.drains is not None:
            await asyncio.sleep(self.rules.drains * TICK)
            self.drained_at = simulated_loop().time()
            await batcher.drain()
            assert batcher.depth == 0
            assert self.running == 0

    async def play(self) -> None:
        rules = self.rules
        batcher = Batcher(
            self.compute,
            max_batch_size=rules.max_batch_size,
            max_delay_s=rules.max_delay * TICK,
            queue_limit=rules.queue_limit,
            lanes=rules.lanes,
            on_batch=self.records.append,
        )
        drain = asyncio.create_task(self.drain(batcher))
        calls = [asyncio.create_task(self.call(batcher, n)) for n in range(len(self.callers))]
        leaving = [asyncio.create_task(self.leave(n, task)) for n, task in enumerate(calls)]
        await asyncio.gather(drain, *calls, *leaving)
        await batcher.drain()
        assert self.running == 0
        nothing_is_left(batcher, rules.lanes)


def everybody_got_their_own_ending(world: World) -> None:
    assert world.endings.keys() == set(range(len(world.callers)))
    batch_of = {item: batch for batch in world.batches for item in batch.items}
    for number, ending in world.endings.items():
        check_ending(world, number, ending, batch_of.get(number))
    assert world.left_while_queued.isdisjoint(batch_of)


def check_ending(world: World, number: int, ending: Ending, batch: Run | None) -> None:
    arrived = world.arrived.get(number, inf)
    match ending.outcome:
        case Answer() as answer:
            assert batch is not None
            assert world.callers[number].fate is Fate.LABELLED
            assert answer.result == result_of(number)
            assert answer.batch_size == len(batch.items)
            assert answer.queue_s == batch.start - arrived
            assert answer.run_s == ending.at - batch.start
        case ItemError() as error:
            assert batch is not None
            assert world.callers[number].fate is not Fate.LABELLED
            assert error.number == number
        case DeadlineExpiredError():
            assert batch is None
            assert ending.at == max(arrived, world.deadline(number))
        case QueueFullError():
            assert batch is None
            assert ending.at == arrived
            assert world.depth[number] == world.rules.queue_limit
        case DrainingError():
            assert batch is None
            assert ending.at == arrived
            assert number in world.refused
        case asyncio.CancelledError():
            assert ending.at == world.left[number]
        case other:
            raise AssertionError(other)
    if batch is not None:
        assert arrived <= batch.start < world.deadline(number)
        assert number not in world.refused


def batches_keep_their_bounds(world: World) -> None:
    rules = world.rules
    batches = world.batches
    assert all(1 <= len(run.items) <= rules.max_batch_size for run in world.runs)
    assert all(depth <= rules.queue_limit for depth in world.depth.values())
    assert sorted(r.size for r in world.records) == sorted(len(run.items) for run in batches)
    for record in world.records:
        full = record.size == rules.max_batch_size
        # Whoever leaves between the closing and the start makes a full batch smaller.
        assert (record.reason is CloseReason.FULL) == full or (world.left and not full)
        assert record.reason is not CloseReason.IDLE or rules.max_delay == 0
        assert record.reason is not CloseReason.DELAY or rules.max_delay > 0
        assert record.reason is not CloseReason.DRAIN or world.drained_at < inf
    for batch in batches:  # a batch of n needs no more than 2n - 1 runs
        retries = [run for run in world.runs if set(run.items) <= set(batch.items)]
        assert len(retries) <= 2 * len(batch.items) - 1


def nobody_overtakes(world: World) -> None:
    """Strict between priorities; within one the earliest deadline, then who came first."""
    batches = world.batches
    order = {number: place for place, number in enumerate(world.arrived)}
    turn = {item: index for index, batch in enumerate(batches) for item in batch.items}
    for batch in batches:
        ranks = [(world.callers[n].priority, world.deadline(n), order[n]) for n in batch.items]
        assert ranks == sorted(ranks)
    for served, index in turn.items():
        start = batches[index].start
        for other in world.arrived:
            urgency = world.callers[other].priority - world.callers[served].priority
            hurry = (world.deadline(other), order[other]) < (world.deadline(served), order[served])
            # Who comes at the very moment of the start may come after it.
            comes_first = (urgency < 0 or (urgency == 0 and hurry)) and (
                world.arrived[other] < start or order[other] < order[served]
            )
            if comes_first and turn.get(other, inf) > index:
                assert world.endings[other].at <= start


def no_lane_idles(world: World) -> None:
    """With a lane free, nobody waits beyond the delay, nor do enough for a full batch."""
    rules = world.rules
    starts = {item: batch.start for batch in world.batches for item in batch.items}
    waits = []  # arrival, latest start if a lane is free, end of waiting
    for number, arrived in world.arrived.items():
        due = min(arrived + rules.max_delay * TICK, max(arrived, world.drained_at))
        waits.append((arrived, due, starts.get(number, world.endings[number].at)))
    instants = {instant for wait in waits for instant in wait}
    instants |= {instant for run in world.runs for instant in (run.start, run.end)}
    for begin, end in pairwise(sorted(instants)):
        busy = sum(run.start <= begin and end <= run.end for run in world.runs)
        if busy < rules.lanes:
            waiting = [due for since, due, until in waits if since <= begin and end <= until]
            assert all(begin < due for due in waiting)
            assert len(waiting) < rules.max_batch_size


ticks = st.integers(0, 60)
callers = st.builds(
    Caller,
    arrives=st.integers(0, 40),
    priority=st.integers(0, 2),
    fate=st.sampled_from([*[Fate.LABELLED] * 8, Fate.REFUSED, Fate.POISON]),
    patience=st.one_of(st.none(), st.none(), ticks),
    leaves=st.one_of(st.none(), st.none(), st.integers(0, 30)),
)
rules = st.builds(
    Rules,
    max_batch_size=st.integers(1, 8),
    max_delay=st.sampled_from([0, 0, 1, 5, 20]),
    lanes=st.integers(1, 3),
    queue_limit=st.sampled_from([2, 8, 1000]),
    fixed=st.integers(0, 12),
    per_item=st.integers(0, 4),
    drains=st.one_of(st.none(), st.none(), st.integers(0, 80)),
)
# Left alone, hypothesis draws short lists, and nothing queues.
crowds = st.integers(0, 40).flatmap(lambda n: st.lists(callers, min_size=n, max_size=n))


@settings(max_examples=500)
@given(crowds, rules)
def test_any_schedule(people: list[Caller], rules: Rules) -> None:
    world = World(rules, people)
    run_simulated(world.play())
    everybody_got_their_own_ending(world)
    batches_keep_their_bounds(world)
    nobody_overtakes(world)
    no_lane_idles(world)
