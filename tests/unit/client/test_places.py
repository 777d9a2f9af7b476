"""Places for calls: so many at once, and whoever waits too long is told."""

import asyncio
import threading

import pytest

from client.places import AsyncPlaces, Places


async def test_no_more_than_there_are_places() -> None:
    places, inside, most = AsyncPlaces(3), 0, 0

    async def visit() -> None:
        nonlocal inside, most
        async with places.taken(60):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(visit() for _ in range(20)))
    assert most == 3


async def test_waiting_is_part_of_the_timeout() -> None:
    places = AsyncPlaces(1)
    async with places.taken(None) as left_s:
        assert left_s is None
        with pytest.raises(TimeoutError):
            async with places.taken(0.01):
                pass
    async with places.taken(5.0) as left_s:
        assert left_s is not None
        assert 0 < left_s <= 5.0


def test_threads_take_turns() -> None:
    places, done = Places(1), threading.Event()

    def visit() -> None:
        with places.taken(60):
            done.set()

    with places.taken(None):
        waiting = threading.Thread(target=visit)
        waiting.start()
        with pytest.raises(TimeoutError), places.taken(0.01):
            pass
        assert not done.is_set()
    waiting.join(60)
    assert done.is_set()
