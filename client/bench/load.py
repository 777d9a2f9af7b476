"""The load itself: a closed loop of so many calls in flight, or an open loop of so many a second.

A closed loop waits for an answer before it sends again, so a slow server is asked less. An open
loop sends when a call is due: its latencies count from that moment, so what the server makes wait
is not left out (no coordinated omission).
"""

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from client.bench.arrivals import Arrivals, constant, poisson
from client.bench.sender import Answer, Sender
from client.bench.tally import Tally


@dataclass(frozen=True, slots=True)
class Load:
    """How much to send, and for how long.

    Attributes:
        in_flight: Closed loop: calls that are always open. 0: an open loop.
        rate_per_s: Open loop: calls a second.
        arrivals: Open loop: at random or evenly spaced.
        phase: Evenly spaced: shift as a share of a gap, 0 to 1.
        warm_up_s: How long to send before anything counts, in seconds.
        duration_s: Length of the measured window in seconds, unless `calls` is given.
        calls: How many calls to measure instead.
        deadline_s: An answer later than this is none for the goodput, in seconds.
        timeout_s: How long to wait for an answer without a deadline, in seconds.
        images_per_call: How many images a call carries.
        seed: Of the random arrivals.
    """

    in_flight: int = 0
    rate_per_s: float = 0.0
    arrivals: Arrivals = "poisson"
    phase: float = 0.0
    warm_up_s: float = 0.0
    duration_s: float = math.inf
    calls: int | None = None
    deadline_s: float | None = None
    timeout_s: float = 10.0
    images_per_call: int = 1
    seed: int = 0

    def share(self, index: int, of: int) -> "Load":
        """Return the part of process `index` out of `of`; all parts together are the load."""
        return replace(
            self,
            in_flight=_part(self.in_flight, index, of),
            rate_per_s=self.rate_per_s / of,
            phase=index / of,
            calls=None if self.calls is None else _part(self.calls, index, of),
            seed=self.seed * of + index,
        )

    def due_times(self) -> Iterator[float]:
        """Yield when the calls of an open loop are due, in seconds from the start."""
        if self.arrivals == "constant":
            return constant(self.rate_per_s, self.phase)
        return poisson(self.rate_per_s, self.seed)


def _part(total: int, index: int, of: int) -> int:
    return total // of + (index < total % of)


class LoadRun:
    """One run of a load from one process.

    Times are those of ``time.monotonic``, which the processes of a machine share.
    """

    def __init__(
        self, load: Load, senders: Sequence[Sender], images: Iterator[bytes], begin_s: float
    ) -> None:
        """Prepare a run.

        Args:
            load: What to send.
            senders: Connections, used by turns.
            images: Encoded images, without end.
            begin_s: When to begin with the warm-up.
        """
        self.tally = Tally()
        self._load = load
        self._senders = senders
        self._images = images
        self._begin_s = begin_s
        self._from_s = begin_s + load.warm_up_s
        self._until_s = self._from_s + (math.inf if load.calls is not None else load.duration_s)
        # With a given number of calls, those begun after the warm-up count. Otherwise a closed
        # loop counts by completion: the calls open at the end stand for those open at the start.
        self._by_completion = load.in_flight > 0 and load.calls is None
        self._left = math.inf if load.calls is None else load.calls
        self._turn = 0
        self._last_s = self._from_s

    @property
    def done(self) -> float:
        """Which share of what is to be measured was, 0 to 1."""
        if self._load.calls is not None:
            whole = self._load.calls * self._load.images_per_call
            return self.tally.requests / whole if whole else 1.0
        share = (time.monotonic() - self._from_s) / self._load.duration_s
        return min(max(share, 0.0), 1.0)

    async def run(self, interrupted: asyncio.Event) -> Tally:
        """Send the load and return the counts; on `interrupted` give up what is under way."""
        load = asyncio.create_task(self._closed() if self._load.in_flight else self._open())
        interruption = asyncio.create_task(interrupted.wait())
        await asyncio.wait((load, interruption), return_when=asyncio.FIRST_COMPLETED)
        stopped_s = math.inf if load.done() else time.monotonic()
        for task in (load, interruption):
            task.cancel()
        results = await asyncio.gather(load, interruption, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]
        over_s = self._last_s if self._load.calls is not None else self._until_s
        self.tally.seconds = max(min(over_s, stopped_s) - self._from_s, 0.0)
        return self.tally

    async def _closed(self) -> None:
        await _sleep_until(self._begin_s)
        async with asyncio.TaskGroup() as callers:
            for _ in range(self._load.in_flight):
                callers.create_task(self._caller())

    async def _caller(self) -> None:
        while (now_s := time.monotonic()) < self._until_s and self._may_send(now_s):
            await self._call(now_s)

    async def _open(self) -> None:
        async with asyncio.TaskGroup() as calls:
            for offset_s in self._load.due_times():
                due_s = self._begin_s + offset_s
                if due_s >= self._until_s or not self._may_send(due_s):
                    return
                await _sleep_until(due_s)
                self._note_lag(due_s)
                calls.create_task(self._call(due_s))

    def _may_send(self, due_s: float) -> bool:
        """Take one of the calls that are left; those of the warm-up are not among them."""
        if due_s >= self._from_s:
            self._left -= 1
        return self._left >= 0

    def _note_lag(self, due_s: float) -> None:
        if due_s >= self._from_s:
            self.tally.lag.record(time.monotonic() - due_s)

    async def _call(self, due_s: float) -> None:
        """Make a call that was due at `due_s` and count each of its images."""
        size = self._load.images_per_call
        images = list(islice(self._images, size))
        sender = self._senders[self._turn % len(self._senders)]
        self._turn += 1
        self.tally.sent += size
        latest_s = due_s + (self._load.deadline_s or self._load.timeout_s)
        try:
            answers = await sender.send(images, max(latest_s - time.monotonic(), 0.0))
        except asyncio.CancelledError:
            self.tally.unfinished += size
            raise
        self._count(answers, due_s, time.monotonic())

    def _count(self, answers: Sequence[Answer], due_s: float, done_s: float) -> None:
        moment_s = done_s if self._by_completion else due_s
        if moment_s < self._from_s:
            self.tally.warm_up += len(answers)
        elif moment_s >= self._until_s:
            self.tally.after += len(answers)
        else:
            self._last_s = max(self._last_s, done_s)
            for answer in answers:
                self.tally.count(answer, done_s - due_s, self._load.deadline_s)


async def _sleep_until(moment_s: float) -> None:
    """Sleep, or at least let the others have their turn: answers wait while calls are late."""
    await asyncio.sleep(max(moment_s - time.monotonic(), 0.0))
