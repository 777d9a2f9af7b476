"""Observations that wait for some others: those made together cost half of those made apart."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector, RestrictedRegistry

log = logging.getLogger(__name__)

_TOGETHER = 96  # about 30 requests: half a millisecond


class Backlog(Collector):
    """Makes observations in order, some at a time, and all whenever metrics are read.

    Of all collectors it is the first to be registered, so that the others have them.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._settling = threading.Lock()

    def add(self, observe: Callable[..., None], *values: object) -> None:
        """Call ``observe`` with ``values`` before long; they should hold little."""
        self._waiting.append((observe, values))
        if len(self._waiting) >= _TOGETHER:
            self.settle()

    def settle(self) -> None:
        """Make all observations that wait.

        One that fails is logged: whoever comes by has nothing to do with it.
        """
        with self._settling:
            while self._waiting:
                observe, values = self._waiting.popleft()
                try:
                    observe(*values)
                except Exception:
                    log.exception("an observation could not be made")

    def describe(self) -> Iterable[Metric]:
        """It has no metrics of its own."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Whoever reads the metrics comes by here first."""
        self.settle()
        return ()


class SettledRegistry(CollectorRegistry):
    """A registry as scrapes read it: who asks for some metrics by name has what waits, too.

    Args:
        registry: Where the backlog is the first collector.
        backlog: Asked for some metrics, the registry passes it by, for it has none of them.
    """

    def __init__(self, registry: CollectorRegistry, backlog: Backlog) -> None:
        super().__init__()
        self._registry = registry
        self._backlog = backlog

    def collect(self) -> Iterable[Metric]:
        """All metrics."""
        return self._registry.collect()

    def restricted_registry(self, names: Iterable[str]) -> RestrictedRegistry:
        """Those with these names."""
        self._backlog.settle()
        return self._registry.restricted_registry(names)
