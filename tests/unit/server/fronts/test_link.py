"""The link: each call ends once, whatever becomes of the engine or the caller."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from server.errors import CallLostError, NotReadyError
from server.fronts.frames import Frame, FrameProtocol, Kind
from server.fronts.link import EngineLink

HELLO = Frame(Kind.HELLO, 0, (b"here", b"1"))


class Engine:
    """The other end: keeps what it gets and answers when told."""

    def __init__(self, path) -> None:
        self._path = path
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._arrive, str(self._path))

    def _arrive(self) -> FrameProtocol:
        self.protocol = FrameProtocol(self.frames.put_nowait, lambda: None)
        return self.protocol

    async def next(self, kind: Kind) -> Frame:
        frame = await asyncio.wait_for(self.frames.get(), 10)
        assert frame.kind is kind
        return frame

    def die(self) -> None:
        self._server.close()
        self.protocol.close()
        self._path.unlink(missing_ok=True)


class States(list):
    """What the link has told, to wait for."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def __call__(self, serving: bool) -> None:
        self.append(serving)
        self._changed.set()

    async def until(self, last: bool) -> None:
        while not self or self[-1] is not last:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 10)


@asynccontextmanager
async def linked(path):
    engine, states = Engine(path), States()
    await engine.start()
    link = EngineLink(path, HELLO, states)
    running = asyncio.create_task(link.run())
    try:
        assert await engine.next(Kind.HELLO) == HELLO
        engine.protocol.send(Frame(Kind.STATE, 0, (b"\1",)))
        await states.until(True)
        yield link, engine, states
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        engine.die()


async def test_answers_find_their_calls_in_any_order(tmp_path) -> None:
    async with linked(tmp_path / "engine") as (link, engine, _):
        done: list[int] = []
        asks = [
            asyncio.create_task(link.ask(Kind.CALL, bytes([n]), done=lambda n=n: done.append(n)))
            for n in range(3)
        ]
        frames = [await engine.next(Kind.CALL) for _ in asks]
        for frame in reversed(frames):
            engine.protocol.send(Frame(Kind.ANSWER, frame.call, frame.blobs))
        answers = await asyncio.gather(*asks)
        assert [answer.blobs for answer in answers] == [(bytes([n]),) for n in range(3)]
        assert sorted(done) == [0, 1, 2]


async def test_who_leaves_cancels_and_the_end_is_still_heard(tmp_path) -> None:
    async with linked(tmp_path / "engine") as (link, engine, _):
        ended = asyncio.Event()
        ask = asyncio.create_task(link.ask(Kind.CLASSIFY, done=ended.set))
        asked = await engine.next(Kind.CLASSIFY)
        ask.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ask
        assert (await engine.next(Kind.CANCEL)).call == asked.call
        assert not ended.is_set()  # the engine may still read the slot
        engine.protocol.send(Frame(Kind.STATUS, asked.call, (b"",)))
        await asyncio.wait_for(ended.wait(), 10)


async def test_an_engine_that_dies_loses_its_calls_and_is_found_again(tmp_path) -> None:
    async with linked(tmp_path / "engine") as (link, engine, states):
        done: list[str] = []
        asks = [
            asyncio.create_task(link.ask(Kind.CALL, done=lambda: done.append("once")))
            for _ in range(2)
        ]
        for _ in asks:
            await engine.next(Kind.CALL)
        engine.die()
        for ask in asks:
            with pytest.raises(CallLostError):
                await ask
        assert done == ["once", "once"]
        await states.until(False)
        with pytest.raises(NotReadyError):
            await link.ask(Kind.CALL, done=lambda: done.append("at once"))
        assert done[-1] == "at once"
        await engine.start()
        assert await engine.next(Kind.HELLO) == HELLO
