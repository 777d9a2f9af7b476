"""Closed and open loops against senders whose answers the test decides."""

import asyncio
import time
from itertools import cycle

import pytest

from client.bench.load import Load, LoadRun
from client.bench.sender import Answer


class CountingSender:
    """Answers after `delay_s`, with `statuses` by turns; remembers what it was asked."""

    def __init__(self, statuses=("OK",), delay_s=0.0):
        self._statuses = cycle(statuses)
        self._delay_s = delay_s
        self.calls = []
        self.done_s = []
        self.open = self.most_open = 0

    async def send(self, images, timeout_s):
        self.calls.append((tuple(images), timeout_s))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await asyncio.sleep(self._delay_s)
        finally:
            self.open -= 1
        self.done_s.append(time.monotonic())
        return [Answer(next(self._statuses), 2) for _ in images]


class StuckSender(CountingSender):
    """Never answers; `asked` is set with the call of that number."""

    def __init__(self, number):
        super().__init__(delay_s=3600)
        self._number = number
        self.asked = asyncio.Event()

    async def send(self, images, timeout_s):
        if len(self.calls) + 1 == self._number:
            self.asked.set()
        return await super().send(images, timeout_s)


async def run(load, *senders, interrupted=None, begin_s=None):
    begin_s = time.monotonic() if begin_s is None else begin_s
    load_run = LoadRun(load, senders, cycle([b"a", b"bb"]), begin_s)
    return await load_run.run(interrupted or asyncio.Event())


def accounted(tally):
    return tally.warm_up + tally.requests + tally.after + tally.unfinished


async def test_a_closed_loop_keeps_so_many_calls_open():
    sender = CountingSender(delay_s=0.002)
    tally = await run(Load(in_flight=3, calls=50), sender)
    assert sender.most_open == 3
    assert len(sender.calls) == 50
    assert (tally.sent, tally.requests, tally.statuses) == (50, 50, {"OK": 50})
    assert tally.seconds >= 50 / 3 * 0.002
    assert not tally.lag


async def test_a_closed_loop_of_so_many_seconds_counts_what_ends_in_them():
    sender = CountingSender(delay_s=0.01)
    begin_s = time.monotonic()
    load = Load(in_flight=4, warm_up_s=0.05, duration_s=0.1)
    tally = await run(load, sender, begin_s=begin_s)
    assert tally.seconds == pytest.approx(0.1)
    assert tally.sent == len(sender.calls) == accounted(tally)
    ended = [begin_s + 0.05 <= done_s < begin_s + 0.15 for done_s in sender.done_s]
    assert tally.requests == pytest.approx(sum(ended), abs=1)  # one may end on the edge
    assert tally.after <= 4
    assert tally.unfinished == 0


async def test_an_open_loop_sends_when_calls_are_due_whatever_comes_back():
    sender = CountingSender(delay_s=0.2)
    load = Load(rate_per_s=100, arrivals="constant", warm_up_s=0.1, duration_s=0.2)
    tally = await run(load, sender)
    # A call that is due just where a stretch ends may count to either side of it.
    assert tally.sent == pytest.approx(30, abs=1)
    assert (tally.warm_up, tally.requests) == pytest.approx((10, 20), abs=1)
    assert tally.warm_up + tally.requests == tally.sent
    assert sender.most_open > 10  # they overlap: nobody waits for the one before
    assert (tally.after, tally.unfinished, tally.seconds) == (0, 0, pytest.approx(0.2))
    assert len(tally.lag) == tally.requests


async def test_latencies_count_from_when_a_call_was_due():
    """The load was to begin half a second ago: every call is late, and that is latency."""
    load = Load(rate_per_s=100, arrivals="constant", calls=5)
    tally = await run(load, CountingSender(), begin_s=time.monotonic() - 0.5)
    assert tally.answered.percentile_s(0) >= 0.45
    assert tally.lag.percentile_s(0) >= 0.45


async def test_the_deadline_counts_from_when_a_call_was_due():
    sender = CountingSender()
    load = Load(rate_per_s=100, arrivals="constant", calls=3, deadline_s=20)
    late = await run(load, sender, begin_s=time.monotonic() - 50)
    assert [timeout_s for _, timeout_s in sender.calls] == [0.0, 0.0, 0.0]
    assert (late.requests, late.in_time, late.goodput_per_s) == (3, 0, 0.0)
    in_time = await run(load, sender)
    assert 0 < sender.calls[-1][1] <= 20
    assert (in_time.requests, in_time.in_time) == (3, 3)


async def test_every_image_of_a_call_is_counted():
    sender = CountingSender(statuses=("OK", "OK", "UNAVAILABLE"))
    tally = await run(Load(in_flight=2, calls=4, images_per_call=3), sender)
    assert tally.statuses == {"OK": 8, "UNAVAILABLE": 4}
    assert (tally.sent, len(tally.answered), len(tally.failed)) == (12, 8, 4)
    assert sender.calls[0][0] == (b"a", b"bb", b"a")


async def test_connections_are_used_by_turns():
    senders = [CountingSender(), CountingSender()]
    await run(Load(in_flight=1, calls=10), *senders)
    assert [len(sender.calls) for sender in senders] == [5, 5]


@pytest.mark.parametrize(
    "load",
    [
        Load(in_flight=5, duration_s=3600),
        Load(in_flight=5, calls=1000),
        Load(rate_per_s=1000, duration_s=3600),
    ],
)
async def test_an_interruption_gives_up_what_is_under_way(load):
    sender, interrupted = StuckSender(5), asyncio.Event()
    running = asyncio.create_task(run(load, sender, interrupted=interrupted))
    await sender.asked.wait()
    interrupted.set()
    tally = await running
    assert tally.unfinished == tally.sent == accounted(tally)
    assert tally.sent >= 5
    assert tally.seconds < 3600
    assert sender.open == 0


async def test_an_interruption_keeps_what_was_counted():
    interrupted = asyncio.Event()

    class Interrupting(CountingSender):
        async def send(self, images, timeout_s):
            if len(self.calls) == 99:
                interrupted.set()
            return await super().send(images, timeout_s)

    tally = await run(Load(in_flight=2, duration_s=3600), Interrupting(), interrupted=interrupted)
    assert tally.requests >= 98
    assert tally.sent == accounted(tally)
    assert 0 < tally.seconds < 3600


async def test_a_sender_that_breaks_its_contract_is_no_result():
    class Broken:
        send = None

    with pytest.raises(ExceptionGroup, match="unhandled"):
        await run(Load(in_flight=1, calls=1), Broken())


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_the_parts_of_a_load_are_the_load(of):
    load = Load(in_flight=5, rate_per_s=90.0, calls=11, arrivals="constant", seed=3)
    parts = [load.share(index, of) for index in range(of)]
    assert sum(part.in_flight for part in parts) == 5
    assert sum(part.calls for part in parts) == 11
    assert sum(part.rate_per_s for part in parts) == pytest.approx(90.0)
    assert len({part.phase for part in parts}) == len({part.seed for part in parts}) == of
