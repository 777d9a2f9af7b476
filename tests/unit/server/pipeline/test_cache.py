"""Answers that are kept: bounded, never wrong, computed once, and nobody leaves with another's."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import DeadlineExpiredError, InvalidRequestError, QueueFullError
from server.pipeline.cache import AnswerCache, Found, Origin

ROOM = 100_000
WAIT_S = 60


class Oven:
    """Computes on demand; the test says when, and whether it fails."""

    def __init__(self, value: bytes = b"bread") -> None:
        self.value = value
        self.started = 0
        self.cancelled = 0
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> bytes:
        self.started += 1
        self.begun.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return self.value


def cache_of(capacity_bytes: int = ROOM, evictions: Counter[str] | None = None) -> AnswerCache:
    counted = evictions if evictions is not None else Counter()
    return AnswerCache(
        capacity_bytes,
        lambda error: isinstance(error, InvalidRequestError),
        lambda: counted.update(["evicted"]),
    )


async def asking(cache: AnswerCache, oven: Oven, **options: float) -> "asyncio.Task[Found]":
    """Somebody who asks and waits."""
    task = asyncio.create_task(cache.get("key", oven, **options))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    return task


async def test_who_comes_meanwhile_waits_and_who_comes_later_has_it_at_once() -> None:
    cache, oven = cache_of(), Oven()
    first, second = await asking(cache, oven), await asking(cache, oven)
    oven.gate.set()
    assert await first == Found(b"bread", Origin.MISS)
    assert await second == Found(b"bread", Origin.JOINED)
    assert await cache.get("key", oven) == Found(b"bread", Origin.HIT)
    assert oven.started == 1


async def test_a_leader_who_leaves_takes_no_follower_along() -> None:
    cache, oven = cache_of(), Oven()
    leader, follower = await asking(cache, oven), await asking(cache, oven)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    oven.gate.set()
    assert await follower == Found(b"bread", Origin.JOINED)
    assert (oven.started, oven.cancelled) == (1, 0)


async def test_what_nobody_waits_for_ends_and_the_next_one_starts_anew() -> None:
    cache, oven = cache_of(), Oven()
    askers = [await asking(cache, oven) for _ in range(3)]
    await asyncio.wait_for(oven.begun.wait(), WAIT_S)
    for asker in askers:
        asker.cancel()
    await asyncio.gather(*askers, return_exceptions=True)
    anew = await asking(cache, oven)
    await asyncio.sleep(0)
    assert (oven.started, oven.cancelled) == (2, 1)
    oven.gate.set()
    assert (await anew).origin is Origin.MISS


async def test_a_follower_waits_no_longer_than_its_own_deadline() -> None:
    cache, oven = cache_of(), Oven()
    leader = await asking(cache, oven)
    soon = asyncio.get_running_loop().time() + 0.01
    with pytest.raises(DeadlineExpiredError, match="another request"):
        await cache.get("key", oven, deadline=soon)
    assert not leader.done()
    oven.gate.set()
    assert (await leader).value == b"bread"


async def test_a_leaders_own_trouble_is_not_its_followers() -> None:
    """Its deadline was nearer than theirs: one of them computes, the other waits for that."""
    cache, doomed, oven = cache_of(), Oven(), Oven()
    leader = await asking(cache, doomed)
    followers = [await asking(cache, oven) for _ in range(2)]
    doomed.error = DeadlineExpiredError("too late")
    doomed.gate.set()
    oven.gate.set()
    with pytest.raises(DeadlineExpiredError, match="too late"):
        await leader
    found = await asyncio.gather(*followers)
    assert sorted(each.origin for each in found) != [Origin.MISS, Origin.MISS]
    assert {each.value for each in found} == {b"bread"}
    assert oven.started == 1


async def test_what_is_wrong_for_everybody_is_told_to_everybody_and_not_kept() -> None:
    cache, oven = cache_of(), Oven()
    askers = [await asking(cache, oven) for _ in range(3)]
    oven.error = InvalidRequestError("image", "is none")
    oven.gate.set()
    for asker in askers:
        with pytest.raises(InvalidRequestError):
            await asker
    assert oven.started == 1
    assert cache.held_bytes == 0
    oven.error = None
    assert (await cache.get("key", oven)).origin is Origin.MISS


async def test_a_computation_that_is_lost_is_lost_to_its_leader_alone() -> None:
    cache, oven = cache_of(), Oven()

    async def lost() -> bytes:
        await oven.gate.wait()
        raise asyncio.CancelledError

    leader = asyncio.create_task(cache.get("key", lost))
    await asyncio.sleep(0)
    follower = await asking(cache, oven)
    oven.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await leader
    assert await follower == Found(b"bread", Origin.MISS)


async def test_the_urgent_wait_for_nobody_who_is_not() -> None:
    cache, slow, fast = cache_of(), Oven(), Oven()
    patient = await asking(cache, slow, urgency=2)
    urgent = await asking(cache, fast, urgency=0)
    fast.gate.set()
    assert (await urgent).origin is Origin.MISS
    slow.gate.set()
    assert (await patient).origin is Origin.MISS
    assert cache.held_bytes < 2 * (len(b"bread") + 512)


async def test_the_one_used_longest_ago_makes_room() -> None:
    evictions = Counter[str]()
    cache = cache_of(3 * (100 + 512), evictions)

    async def value() -> bytes:
        return bytes(100)

    for key in ("a", "b", "c", "a", "d"):
        await cache.get(key, value)
    origins = {key: (await cache.get(key, value)).origin for key in ("a", "c", "d")}
    assert set(origins.values()) == {Origin.HIT}
    assert evictions == {"evicted": 1}
    assert (await cache.get("b", value)).origin is Origin.MISS


async def test_what_is_larger_than_everything_is_answered_and_not_kept() -> None:
    cache, oven = cache_of(600), Oven(bytes(1000))
    oven.gate.set()
    assert (await cache.get("key", oven)).value == bytes(1000)
    assert cache.held_bytes == 0


async def test_what_is_not_to_be_kept_is_told_to_those_who_wait_alone() -> None:
    cache, oven = cache_of(), Oven()
    leader = asyncio.create_task(cache.get("key", oven, keeps=lambda: False))
    await asyncio.sleep(0)
    follower = await asking(cache, oven)
    oven.gate.set()
    assert (await leader).value == (await follower).value == b"bread"
    assert cache.held_bytes == 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 3), st.integers(0, 1)),
        st.tuples(st.just("leave"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("finish"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("fail"), st.integers(0, 3), st.booleans()),
    ),
    max_size=40,
)


@given(steps=STEPS, capacity_bytes=st.sampled_from([1, 1100, 2200, 100_000]))
def test_whatever_happens_everybody_gets_the_value_of_their_key(
    steps: list[tuple[str, int, int]], capacity_bytes: int
) -> None:
    asyncio.run(_play(steps, capacity_bytes))


async def _play(steps: list[tuple[str, int, int]], capacity_bytes: int) -> None:
    play = Play(capacity_bytes)
    for step, which, detail in steps:
        getattr(play, step)(which, detail)
        await turns()
        assert play.cache.held_bytes <= capacity_bytes
    for _ in range(len(play.asked) + 1):  # who waited for one that fails now computes
        for key in range(4):
            play.finish(key)
        await turns()
    play.check()


async def turns() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


class Play:
    """A cache, who asked it, and what computes."""

    def __init__(self, capacity_bytes: int) -> None:
        self.cache = cache_of(capacity_bytes)
        self.asked: list[tuple[int, asyncio.Task[Found]]] = []
        self.left: set[asyncio.Task[Found]] = set()
        self._running: dict[tuple[int, int], asyncio.Future[bytes]] = {}

    def ask(self, key: int, urgency: int) -> None:
        found = self.cache.get(key, lambda: self._compute(key, urgency), urgency=urgency)
        self.asked.append((key, asyncio.create_task(found)))

    def leave(self, which: int, _: int = 0) -> None:
        if self.asked:
            task = self.asked[which % len(self.asked)][1]
            task.cancel()
            self.left.add(task)

    def finish(self, key: int, _: int = 0) -> None:
        for future in self._computing(key):
            future.set_result(value_of(key))

    def fail(self, key: int, for_all: int) -> None:
        for future in self._computing(key):
            error = InvalidRequestError("image", "is none") if for_all else QueueFullError("full")
            future.set_exception(error)

    def check(self) -> None:
        assert not self._running
        for key, task in self.asked:
            assert task.done()
            if task.cancelled():
                assert task in self.left
            elif (error := task.exception()) is not None:
                assert isinstance(error, (InvalidRequestError, QueueFullError))
            else:
                assert task.result().value == value_of(key)

    async def _compute(self, key: int, urgency: int) -> bytes:
        assert (key, urgency) not in self._running, "computed twice at the same time"
        future = self._running[key, urgency] = asyncio.get_running_loop().create_future()
        try:
            return await future
        finally:
            del self._running[key, urgency]

    def _computing(self, key: int) -> list["asyncio.Future[bytes]"]:
        return [each for (of, _), each in self._running.items() if of == key and not each.done()]


def value_of(key: int) -> bytes:
    return bytes([key]) * 300 * (key + 1)
