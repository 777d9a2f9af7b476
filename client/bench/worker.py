"""One process of the load generator: connects, waits for the start, sends, reports its tally.

What goes over the pipe::

    worker: Ready ──> parent: begin_s ──> worker: Progress ... ──> Tally
                      parent: None (interrupted) ──┘
    or, at any time, worker: Failure
"""

import asyncio
import signal
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from threading import Thread

from client.bench.load import Load, LoadRun
from client.bench.photos import Photos
from client.bench.sender import Target, TargetError
from client.bench.tally import Tally

_PROGRESS_S = 0.25


@dataclass(frozen=True, slots=True)
class Ready:
    """The connections are there."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How many requests were answered OK so far, how many otherwise, and how much is done.

    `done` is a share, 0 to 1.
    """

    answered: int
    failed: int
    done: float


@dataclass(frozen=True, slots=True)
class Failure:
    """The process cannot go on."""

    message: str


Message = Ready | Progress | Tally | Failure


@dataclass(frozen=True, slots=True)
class Work:
    """What a process is to do: its part of the load, over so many connections."""

    target: Target
    load: Load
    photos: Photos
    connections: int
    seed: int


def work(pipe: "Connection[Message, float | None]", task: Work) -> None:
    """Do the work of a process; `pipe` leads to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    try:
        asyncio.run(_work(pipe, task))
    except (BrokenPipeError, EOFError):
        return  # the parent has gone
    except TargetError as error:
        pipe.send(Failure(str(error)))
    except Exception as error:  # whatever it is, the parent has to know
        pipe.send(Failure(repr(error)))


async def _work(pipe: "Connection[Message, float | None]", task: Work) -> None:
    async with AsyncExitStack() as stack:
        opening = [task.target.open() for _ in range(task.connections)]
        senders = [await stack.enter_async_context(connection) for connection in opening]
        pipe.send(Ready())
        begin_s = await asyncio.to_thread(pipe.recv)
        if begin_s is None:
            pipe.send(Tally())
            return
        run = LoadRun(task.load, senders, task.photos.endless(task.seed), begin_s)
        telling = asyncio.create_task(_tell(pipe, run))
        try:
            tally = await run.run(_interruption(pipe))
        finally:
            telling.cancel()
        pipe.send(tally)


def _interruption(pipe: "Connection[Message, float | None]") -> asyncio.Event:
    """Return an event that is set when the parent writes again, or is gone."""
    interrupted, loop = asyncio.Event(), asyncio.get_running_loop()

    def wait() -> None:
        with suppress(EOFError, OSError):
            pipe.recv()
        with suppress(RuntimeError):  # the loop is over
            loop.call_soon_threadsafe(interrupted.set)

    Thread(target=wait, daemon=True).start()
    return interrupted


async def _tell(pipe: "Connection[Message, float | None]", run: LoadRun) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_S)
        answered = len(run.tally.answered)
        pipe.send(Progress(answered, run.tally.requests - answered, run.done))
