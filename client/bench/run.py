"""A benchmark over several processes: start them together, merge what they counted."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from client.bench.load import Load
from client.bench.photos import Photos
from client.bench.sender import Target, TargetError
from client.bench.tally import Tally
from client.bench.worker import Failure, Message, Progress, Work, work

# From the moment when all are ready to the first call.
_START_DELAY_S = 0.1
_PATIENCE_S = 10.0

_Pipe = Connection  # of float | None there and Message back


@dataclass(frozen=True, slots=True)
class Result:
    """What a benchmark found out.

    Attributes:
        tally: The counts of all processes.
        interrupted: Whether it was ended by Ctrl-C; `tally` then holds what was counted so far.
    """

    tally: Tally
    interrupted: bool


def run(
    target: Target,
    load: Load,
    photos: Photos,
    *,
    processes: int = 1,
    connections: int = 1,
    progress: Callable[[Progress], None] = lambda _progress: None,
) -> Result:
    """Put `target` under `load` and count what comes back.

    Args:
        target: The server and how to call it; has to be picklable.
        load: All of it; the processes share it.
        photos: What to send.
        processes: Senders, each with an interpreter of its own; no more than are in flight.
        connections: Of each process.
        progress: Is told when all is ready to begin, and then now and then how far it is.

    Raises:
        TargetError: There is no connection, or a process failed.
    """
    if load.in_flight:
        processes = min(processes, load.in_flight)
    tasks = [
        Work(target, load.share(index, processes), photos, connections, load.seed + index)
        for index in range(processes)
    ]
    with _started(tasks) as pipes:
        parent = _Parent(pipes, progress)
        interrupted = False
        try:
            parent.start()
            parent.collect()
        except KeyboardInterrupt:
            interrupted = True
            parent.interrupt()
            parent.collect()
        return Result(parent.tally, interrupted)


@contextmanager
def _started(tasks: Sequence[Work]) -> Iterator[list["_Pipe[float | None, Message]"]]:
    context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
    processes: list[SpawnProcess] = []
    pipes: list[_Pipe[float | None, Message]] = []
    try:
        for task in tasks:
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs, task), daemon=True)
            with _interrupts_held():
                process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join(_PATIENCE_S)
            if process.is_alive():
                process.kill()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back: a process that is started meanwhile does not die of it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Parent:
    """The end of the pipes that starts, listens and merges."""

    def __init__(
        self,
        pipes: Sequence["_Pipe[float | None, Message]"],
        progress: Callable[[Progress], None],
    ) -> None:
        self.tally = Tally()
        self._pipes = list(pipes)
        self._progress = progress
        self._so_far: dict[_Pipe[float | None, Message], Progress] = {}

    def start(self) -> None:
        """Wait until every process is ready; then tell all the same moment."""
        for pipe in self._pipes:
            self._receive(pipe)
        self._progress(Progress(0, 0, 0.0))
        self._tell(time.monotonic() + _START_DELAY_S)

    def interrupt(self) -> None:
        """Make every process report what it has."""
        self._tell(None)

    def collect(self) -> None:
        """Merge the tallies as they come, until every process has reported."""
        while self._pipes:
            ready = wait(self._pipes)
            for pipe in [pipe for pipe in self._pipes if pipe in ready]:
                message = self._receive(pipe)
                if isinstance(message, Tally):
                    self.tally.add(message)
                    self._pipes.remove(pipe)
                elif isinstance(message, Progress):
                    self._so_far[pipe] = message
                    self._progress(_together(self._so_far.values()))

    def _tell(self, message: float | None) -> None:
        for pipe in self._pipes:
            with suppress(BrokenPipeError):  # it has said why it ended, or will not
                pipe.send(message)

    def _receive(self, pipe: "_Pipe[float | None, Message]") -> Message:
        try:
            message = pipe.recv()
        except EOFError:
            raise TargetError("a process of the load generator died") from None
        if isinstance(message, Failure):
            raise TargetError(message.message)
        return message


def _together(parts: Collection[Progress]) -> Progress:
    return Progress(
        answered=sum(part.answered for part in parts),
        failed=sum(part.failed for part in parts),
        done=sum(part.done for part in parts) / len(parts),
    )
