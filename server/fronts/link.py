"""A front's connection to the engine: kept up, and every call answered or given up once."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from server.errors import CallLostError, NotReadyError
from server.fronts.frames import Frame, FrameProtocol, Kind

log = logging.getLogger(__name__)

_RETRY_S = 0.1


@dataclass(frozen=True)
class _Call:
    """One that waits for the engine.

    Attributes:
        answer: What the engine says.
        done: Called when the engine has let go of it, whoever waits still.
    """

    answer: asyncio.Future[Frame]
    done: Callable[[], None]


class EngineLink:
    """The connection to the engine.

    Args:
        path: The engine's socket.
        hello: What to say first.
        on_state: Told whether the engine serves, whenever that changes.
    """

    def __init__(self, path: Path, hello: Frame, on_state: Callable[[bool], None]) -> None:
        self._path = path
        self._hello = hello
        self._on_state = on_state
        self._protocol: FrameProtocol | None = None
        self._calls: dict[int, _Call] = {}
        self._numbers = count(1)

    async def run(self) -> None:
        """Connect, and again whenever the connection is lost, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            lost = asyncio.Event()
            try:
                _, protocol = await loop.create_unix_connection(
                    partial(FrameProtocol, self._received, lost.set), str(self._path)
                )
            except OSError:  # the engine is starting, or starting again
                await asyncio.sleep(_RETRY_S)
                continue
            self._protocol = protocol
            protocol.send(self._hello)
            try:
                await lost.wait()
            finally:
                self._protocol = None
                protocol.close()
                self._give_up()
            log.warning("the engine has gone")

    async def ask(
        self, kind: Kind, *blobs: bytes, done: Callable[[], None] = lambda: None
    ) -> Frame:
        """Send a call and wait for its answer.

        Args:
            kind: Of the frame.
            blobs: What it carries.
            done: Called exactly once, when the engine has answered or gone, even if this was
                cancelled before.

        Raises:
            NotReadyError: There is no engine now.
            CallLostError: It has gone before it answered.
        """
        if self._protocol is None:
            done()
            raise NotReadyError("the engine is starting")
        number = next(self._numbers)
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._calls[number] = _Call(answer, done)
        self._protocol.send(Frame(kind, number, blobs))
        try:
            return await answer
        except asyncio.CancelledError:
            self.tell(Kind.CANCEL, call=number)
            raise

    def tell(self, kind: Kind, *blobs: bytes, call: int = 0) -> None:
        """Send what has no answer; dropped when there is no engine."""
        if self._protocol is not None:
            self._protocol.send(Frame(kind, call, blobs))

    def _received(self, frame: Frame) -> None:
        if frame.kind is Kind.STATE:
            self._on_state(bool(frame.blobs[0][0]))
            return
        call = self._calls.pop(frame.call)
        call.done()
        if not call.answer.done():
            call.answer.set_result(frame)

    def _give_up(self) -> None:
        self._on_state(False)
        lost, self._calls = list(self._calls.values()), {}
        for call in lost:
            call.done()
            if not call.answer.done():
                call.answer.set_exception(CallLostError("what computed the answer has gone"))
