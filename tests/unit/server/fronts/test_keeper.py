"""The keeper: real processes that end, die, or never get ready."""

import asyncio
import os
import signal
import sys

import pytest

from server.fronts.keeper import Keeper, NeverReadyError

READY = "import sys; print('{\"pid\": \"%d\"}' % __import__('os').getpid(), flush=True); "


def keeper(program: str) -> Keeper:
    return Keeper("it", [sys.executable, "-c", program])


async def test_it_is_ready_once_it_says_so_and_ends_when_told() -> None:
    kept = keeper(READY + "sys.stdin.read()")
    running = asyncio.create_task(kept.run())
    said = await asyncio.wait_for(asyncio.shield(kept.ready), 30)
    assert said == {"pid": str(kept.pid)}
    kept.stop()
    await asyncio.wait_for(running, 30)


async def test_what_ends_before_it_was_ready_is_not_tried_again() -> None:
    with pytest.raises(NeverReadyError) as caught:
        await asyncio.wait_for(keeper("raise SystemExit(3)").run(), 30)
    assert caught.value.code == 3


async def test_what_dies_is_started_again(tmp_path) -> None:
    lives = tmp_path / "lives"
    os.mkfifo(lives)
    reading = os.open(lives, os.O_RDWR)
    program = f"open({str(lives)!r}, 'w').write('{{}}\\n'.format(__import__('os').getpid())); "
    kept = keeper(READY + program + "sys.stdin.read()")
    running = asyncio.create_task(kept.run())
    with os.fdopen(reading) as lines:
        first = await asyncio.to_thread(lines.readline)
        os.kill(int(first), signal.SIGKILL)
        second = await asyncio.to_thread(lines.readline)
    assert int(second) != int(first)
    kept.stop()
    await asyncio.wait_for(running, 30)
