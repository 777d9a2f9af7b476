"""An event loop whose clock jumps to the next timer instead of waiting.

Deterministic, and loud where a real loop would hang: a deadlock and an endless
loop of callbacks raise. Sockets and ``call_soon_threadsafe`` work, but the
clock does not wait for threads.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_MOST_TURNS_AT_ONE_TIME = 100_000


class _InstantSelector(selectors.DefaultSelector):
    """Never blocks: time that the loop would have waited is added to the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.resting: list[asyncio.Future[None]] = []
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            self._turns += 1
            if self._turns > _MOST_TURNS_AT_ONE_TIME:
                raise RuntimeError("callbacks follow each other and time stands still")
            return ready
        if self.resting:
            for future in self.resting:
                if not future.done():
                    future.set_result(None)
            self.resting.clear()
            return ready
        if timeout is None:
            raise RuntimeError("everything waits and no timer is set: a deadlock")
        self.now += timeout
        self._turns = 0
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """asyncio on a simulated clock that starts at 0."""

    def __init__(self) -> None:
        self._instant = _InstantSelector()
        super().__init__(self._instant)

    def time(self) -> float:
        return self._instant.now

    def rest(self) -> asyncio.Future[None]:
        future = self.create_future()
        self._instant.resting.append(future)
        return future

    def leftovers(self) -> list[object]:
        """Callbacks, timers and tasks that still live, except the task that asks."""
        handles = [*self._ready, *self._scheduled]
        alive: list[object] = [handle for handle in handles if not handle.cancelled()]
        return alive + list(asyncio.all_tasks(self) - {asyncio.current_task(self)})


def simulated_loop() -> SimulatedLoop:
    """The running loop, which must be simulated."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    return loop


async def at_rest() -> None:
    """Return when only timers are left to run; the clock stands still meanwhile."""
    await simulated_loop().rest()


async def a_turn() -> None:
    """Let the loop turn once."""
    await asyncio.sleep(0)


def run_simulated(main: Coroutine[object, object, T]) -> T:
    """Like ``asyncio.run``, on a simulated clock; errors that nobody handled fail it."""
    unhandled: list[dict[str, object]] = []
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        loop = runner.get_loop()
        loop.set_exception_handler(lambda _loop, context: unhandled.append(context))
        result = runner.run(main)
    assert not unhandled, unhandled
    return result


def simulated(test: Callable[P, Coroutine[object, object, T]]) -> Callable[P, T]:
    """Make an async test one that runs on the simulated clock."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_simulated(test(*args, **kwargs))

    return run
