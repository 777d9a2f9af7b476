"""Workers: every job answered once, whoever leaves, and few wake-ups of the event loop."""

import asyncio
import threading
from contextlib import contextmanager

import pytest

from server.pipeline.workers import Workers


@contextmanager
def workers(count=2):
    made = Workers(count, "test")
    try:
        yield made
    finally:
        made.close()


async def test_each_of_many_jobs_gets_its_own_result():
    with workers() as pool:
        results = await asyncio.gather(*(pool.run(lambda n=n: n * n) for n in range(500)))
        assert results == [n * n for n in range(500)]


async def test_an_error_is_its_callers_alone():
    with workers(count=1) as pool:
        jobs = (pool.run(lambda d=d: 12 // d) for d in (3, 0, 4))
        first, failed, last = await asyncio.gather(*jobs, return_exceptions=True)
        assert (first, last) == (4, 3)
        assert isinstance(failed, ZeroDivisionError)


async def test_jobs_that_come_while_a_thread_stops_are_run():
    with workers(count=1) as pool:
        for n in range(200):  # each comes just as the thread finds nothing to do
            assert await pool.run(lambda n=n: n) == n


async def test_who_leaves_before_the_turn_is_never_called():
    called = []
    with workers(count=1) as pool:
        begun, gate = threading.Event(), threading.Event()

        def hold():
            begun.set()
            assert gate.wait(timeout=10)

        running = asyncio.create_task(pool.run(hold))
        assert await asyncio.to_thread(begun.wait, 10)
        leaving = asyncio.create_task(pool.run(lambda: called.append("left")))
        staying = asyncio.create_task(pool.run(lambda: called.append("stayed")))
        await asyncio.sleep(0)  # both have queued
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        gate.set()
        await asyncio.gather(running, staying)
    assert called == ["stayed"]


async def test_a_busy_loop_is_woken_once_for_all_that_is_finished(monkeypatch):
    loop = asyncio.get_running_loop()
    wakes = []
    wake = loop.call_soon_threadsafe
    with workers(count=1) as pool:
        finished, release = threading.Event(), threading.Event()

        def last():
            finished.set()
            assert release.wait(timeout=10)

        jobs = [asyncio.create_task(pool.run(lambda: None)) for _ in range(50)]
        jobs.append(asyncio.create_task(pool.run(last)))
        monkeypatch.setattr(
            loop, "call_soon_threadsafe", lambda call: (wakes.append(call), wake(call))
        )
        await asyncio.sleep(0)  # the jobs have queued; the thread starts after the next turn
        loop.call_soon(lambda: finished.wait(timeout=10))  # the loop does nothing meanwhile
        await asyncio.gather(*jobs[:-1])
        assert len(wakes) == 1
        release.set()
        await jobs[-1]
