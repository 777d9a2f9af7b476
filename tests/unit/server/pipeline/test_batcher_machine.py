"""The batcher under any order of calls that the test releases one by one: a state machine.

`test_batcher_schedules` draws whole schedules on a clock; here hypothesis plays the callers and
the engine against each other, step by step, and what is promised is checked after each.
"""

import asyncio
from math import inf

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from server.errors import DeadlineExpiredError, DrainingError, QueueFullError
from server.pipeline.batcher import Answer, Batcher
from tests.puppet import ItemError, PuppetEngine, nothing_is_left, result_of
from tests.simulated_clock import SimulatedLoop, at_rest

QUEUE_LIMIT = 4
# Priority and seconds until the deadline.
people = st.tuples(st.integers(0, 2), st.sampled_from([inf, inf, 1.0, 2.0, 5.0]))


class BatcherMachine(RuleBasedStateMachine):
    """Callers come, wait, leave and are answered; the engine answers, refuses and fails."""

    @initialize(size=st.integers(1, 4), lanes=st.integers(1, 2), delay=st.sampled_from([0.0, 1.0]))
    def create(self, size: int, lanes: int, delay: float) -> None:
        self.loop = SimulatedLoop()
        self.engine = PuppetEngine()
        self.size, self.lanes = size, lanes
        self.callers: dict[int, asyncio.Task[Answer[str]]] = {}
        self.left: set[int] = set()
        self.failing: set[int] = set()
        self.ended: set[int] = set()
        self.drain_task: asyncio.Task[None] | None = None

        async def make() -> Batcher[int, str]:
            return Batcher(
                self.engine,  # type: ignore[arg-type] # a puppet of strings
                max_batch_size=size,
                max_delay_s=delay,
                queue_limit=QUEUE_LIMIT,
                lanes=lanes,
            )

        self.batcher = self.loop.run_until_complete(make())

    @rule(crowd=st.lists(people, min_size=1, max_size=5))
    def come(self, crowd: list[tuple[int, float]]) -> None:
        for priority, patience in crowd:
            number = len(self.callers)
            deadline = self.loop.time() + patience
            call = self.batcher.submit(number, priority=priority, deadline=deadline)
            self.callers[number] = self.loop.create_task(call)
        self.settle()

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.waiting()))
        self.callers[number].cancel()
        self.left.add(number)
        self.settle()

    @rule(seconds=st.integers(1, 3))
    def let_time_pass(self, seconds: int) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.settle()

    @precondition(lambda self: self.engine.running)
    @rule(data=st.data(), refuse=st.booleans())
    def answer(self, data: st.DataObject, refuse: bool) -> None:
        batch = data.draw(st.sampled_from(self.engine.running))
        items = [int(str(item)) for item in batch.items]
        if refuse:  # one of them
            self.failing.add(items[0])
            rest = [result_of(item) for item in items[1:]]
            batch.answer([ItemError(items[0]), *rest])
        else:
            batch.answer()
        self.settle()

    @precondition(lambda self: self.engine.running)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from(self.engine.running))
        if len(batch.items) == 1:
            self.failing.add(int(str(batch.items[0])))
        batch.fail(ItemError(int(str(batch.items[0]))))
        self.settle()

    @precondition(lambda self: self.drain_task is None)
    @rule()
    def drain(self) -> None:
        self.drain_task = self.loop.create_task(self.batcher.drain())
        self.settle()

    @invariant()
    def everybody_is_answered_rightly_and_once(self) -> None:
        for number, caller in self.callers.items():
            if not caller.done() or number in self.ended:
                continue
            self.ended.add(number)
            if caller.cancelled():
                assert number in self.left
                continue
            match caller.exception():
                case None:
                    assert caller.result().result == result_of(number)
                    assert number not in self.failing
                case ItemError() as error:
                    assert error.number == number
                    assert number in self.failing
                case QueueFullError() | DeadlineExpiredError():
                    pass
                case DrainingError():
                    assert self.drain_task is not None
                case other:
                    raise AssertionError(other)

    @invariant()
    def bounds_are_kept(self) -> None:
        assert self.batcher.depth <= QUEUE_LIMIT
        assert len(self.engine.running) <= self.lanes
        assert all(len(batch.items) <= self.size for batch in self.engine.batches)

    def teardown(self) -> None:
        if not hasattr(self, "batcher"):
            return
        while self.engine.running:
            self.engine.running[0].answer()
            self.settle()
        if self.drain_task is None:
            self.drain()
        while self.engine.running:
            self.engine.running[0].answer()
            self.settle()
        self.everybody_is_answered_rightly_and_once()
        assert self.ended == self.callers.keys(), "somebody was never answered"
        assert self.drain_task is not None
        assert self.drain_task.done()

        async def look() -> None:
            nothing_is_left(self.batcher, self.lanes)

        self.loop.run_until_complete(look())
        self.loop.close()

    def waiting(self) -> list[int]:
        return [number for number, caller in self.callers.items() if not caller.done()]

    def settle(self) -> None:
        """Let everything happen that takes no time."""
        self.loop.run_until_complete(at_rest())


calm = settings(
    deadline=None,
    max_examples=60,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow],
)
TestBatcher = BatcherMachine.TestCase
TestBatcher.settings = calm
