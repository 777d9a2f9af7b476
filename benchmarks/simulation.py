"""A discrete-event simulation of one replica: the server's own queue, admission and cost model.

Batches take what they were measured to take, with jitter; time is simulated.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from server.pipeline.admission import planned_batch, predicted_end
from server.pipeline.cost import CostModel
from server.pipeline.queue import BatchQueue, Ticket


@dataclass(frozen=True)
class Policy:
    """A rule to compare.

    Attributes:
        name: For people.
        max_delay_s: Longest wait for company.
        informed: Whether it knows what batches take, and admits by that.
        queue_limit: Most items that wait.
        shrinks: Whether inputs shrink before an item is refused.
    """

    name: str
    max_delay_s: float
    informed: bool
    queue_limit: int = 1024
    shrinks: bool = False


@dataclass
class Outcome:
    """What became of the items of one run.

    Attributes:
        in_time: Answered within the deadline.
        late: Answered after it: work for nothing.
        refused: Sent away on arrival.
        expired: Gave up in the queue.
        waits_s: Seconds from arrival to answer.
        batches: Sizes.
        shrunk: Answered from a smaller input.
    """

    in_time: int = 0
    late: int = 0
    refused: int = 0
    expired: int = 0
    waits_s: list[float] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    shrunk: int = 0


@dataclass(frozen=True)
class SimulatedEngine:
    """An engine.

    Attributes:
        seconds: Of a batch by its size.
        lanes: Batches at the same time.
        largest: Most items in a batch.
        jitter: Standard deviation of a batch's time, as a share of it.
        shrunk: What a batch of smaller inputs takes, as a share of those seconds.
    """

    seconds: Mapping[int, float]
    lanes: int
    largest: int
    jitter: float = 0.1
    shrunk: float = 1.0

    def cost(self, share: float = 1.0, *, known: bool = True) -> CostModel:
        """A cost model of a share of those seconds."""
        seconds = {size: share * each for size, each in self.seconds.items()}
        return CostModel(seconds if known else {})


class Simulation:
    """One engine of some lanes under one policy.

    Args:
        engine: What computes.
        policy: The rule.
        deadlines_s: Of which each item has one, by chance.
        seed: Of all chance but the arrivals'.
        queue: What the items wait in.
    """

    def __init__(
        self,
        engine: SimulatedEngine,
        policy: Policy,
        deadlines_s: Sequence[float],
        seed: int,
        queue: type[BatchQueue[None]] = BatchQueue,
    ) -> None:
        self._engine = engine
        self._policy = policy
        self._deadlines_s = deadlines_s
        shares = (1.0, engine.shrunk) if policy.shrinks else (1.0,)
        self._truths = [engine.cost(share) for share in shares]
        self._costs = [engine.cost(share, known=policy.informed) for share in shares]
        self._cost, smaller = self._costs[0], self._costs[1:]
        self._queue = queue(engine.largest, policy.max_delay_s, self._cost, smaller)
        self._random = random.Random(seed)
        self._patience = random.Random(f"patience {seed}")
        self._predicted: list[float] = []  # ends of the batches that run
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._now = 0.0
        self.outcome = Outcome()

    def run(self, arrivals: Iterator[float], end: float) -> Outcome:
        """Let items arrive until ``end`` and answer them all."""
        self._next_arrival(arrivals, end)
        while self._events:
            self._now, _, event = heappop(self._events)
            event()
        return self.outcome

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heappush(self._events, (when, next(self._order), event))

    def _next_arrival(self, arrivals: Iterator[float], end: float) -> None:
        when = next(arrivals)
        if when < end:
            self._at(when, lambda: self._arrive(arrivals, end))

    def _arrive(self, arrivals: Iterator[float], end: float) -> None:
        self._next_arrival(arrivals, end)
        deadline = self._now + self._patience.choice(self._deadlines_s)
        step = self._admits(deadline)
        if step is None:
            self.outcome.refused += 1
            return
        planned = self._planned(deadline, step)
        ticket: Ticket[None] = Ticket(
            None, self._now, deadline=deadline, step=step, planned=planned
        )
        self._queue.add(ticket)
        self._at(deadline, lambda: self._expire(ticket))
        self._dispatch()

    def _admits(self, deadline: float) -> int | None:
        """How far inputs must shrink for one more item; None: it is refused."""
        if len(self._queue) >= self._policy.queue_limit:
            return None
        if not self._cost.known:
            return 0
        lanes = [*self._predicted, *[-math.inf] * (self._engine.lanes - len(self._predicted))]
        ahead = self._queue.ahead_of(0, "", deadline)
        overtaken = self._queue.overtaken_by(0, "", deadline)
        for step, cost in enumerate(self._costs):
            planned = self._planned(deadline, step)
            if predicted_end(self._now, ahead, planned, lanes, cost) <= deadline:
                kept = all(
                    predicted_end(self._now, before, one.planned, lanes, self._costs[one.step])
                    <= one.deadline
                    for before, one in overtaken
                )
                return step if kept else None
        return None

    def _planned(self, deadline: float, step: int) -> int:
        return planned_batch(deadline - self._now, self._engine.largest, self._costs[step])

    def _expire(self, ticket: Ticket[None]) -> None:
        if self._queue.remove(ticket):
            self.outcome.expired += 1

    def _dispatch(self) -> None:
        if self._cost.known:
            idle = not self._predicted
            self.outcome.expired += len(self._queue.hopeless(self._now, idle=idle))
        while len(self._predicted) < self._engine.lanes:
            batch = self._queue.take(self._now)
            if batch is None:
                due = self._queue.closes_at()
                if self._now < due < math.inf:
                    self._at(due, self._dispatch)
                return
            self._start([*batch.tickets], batch.step)

    def _start(self, tickets: list[Ticket[None]], step: int) -> None:
        size = len(tickets)
        predicted = self._now + self._costs[step].predict(size)
        seconds = self._truths[step].predict(size) * max(
            0.5, self._random.gauss(1.0, self._engine.jitter)
        )
        self._predicted.append(predicted)
        self.outcome.batches.append(size)

        def end() -> None:
            self._predicted.remove(predicted)
            self._costs[step].observe(size, seconds)
            self.outcome.shrunk += size if step else 0
            for ticket in tickets:
                self.outcome.waits_s.append(self._now - ticket.enqueued_at)
                self.outcome.in_time += self._now <= ticket.deadline
                self.outcome.late += self._now > ticket.deadline
            self._dispatch()

        self._at(self._now + seconds, end)


def poisson(rate: float, chance: random.Random) -> Iterator[float]:
    """Arrivals at ``rate`` a second."""
    now = 0.0
    while True:
        now += chance.expovariate(rate)
        yield now
