"""Slow work beside serving: a bounded queue and a thread. Whoever offers never waits."""

import queue
import threading
from collections.abc import Callable
from math import inf
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Offload(Generic[Item]):
    """Hands items to a thread of its own, in order.

    Args:
        name: Of the thread.
        work: Called there with each item. It sees to its own errors.
        most_items: That may wait.
        most_bytes: That those may hold.
        on_idle: Called there when nothing waits any more.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Item], None],
        most_items: int,
        most_bytes: float = inf,
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._work = work
        self._on_idle = on_idle
        self._most_bytes = most_bytes
        self._bytes = 0
        self._counting = threading.Lock()
        self._queue: queue.Queue[tuple[Item, int] | None] = queue.Queue(most_items)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, item: Item, size_bytes: int = 0) -> bool:
        """Take an item if there is room for it; returns at once."""
        if self._bytes + size_bytes > self._most_bytes:
            return False
        try:
            self._queue.put_nowait((item, size_bytes))
        except queue.Full:
            return False
        self._hold(size_bytes)
        return True

    def close(self) -> None:
        """Work on what waits and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (offered := self._queue.get()) is not None:
            item, size_bytes = offered
            self._work(item)
            self._hold(-size_bytes)
            if self._queue.empty():
                self._on_idle()

    def _hold(self, size_bytes: int) -> None:
        with self._counting:
            self._bytes += size_bytes
