"""Looks at the store of a model repository again and again, beside serving.

Each look runs in a thread of its own that nobody waits for at the end: a store that hangs holds
up neither requests nor shutdown.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from models.errors import RepositoryError
from models.mirror import Event, Mirror
from server.catalog.catalog import Catalog
from server.catalog.policy import VersionPolicy
from server.telemetry.store_metrics import StoreMetrics

log = logging.getLogger(__name__)

_PATIENCE_S = 5.0  # at the start, where there is something to serve already

_LEVELS = {Event.REFUSED: logging.ERROR, Event.LABELS_REFUSED: logging.ERROR}


class Choice:
    """Which versions of a model to have here: those wanted, and those that are loaded.

    Args:
        policy_of: What is wanted of a model; None: calls say what is loaded.
        catalog: What is loaded.
    """

    def __init__(self, policy_of: Callable[[str], VersionPolicy] | None, catalog: Catalog) -> None:
        self._policy_of = policy_of
        self._catalog = catalog
        self._loaded: dict[str, set[int]] = {}

    def note_loaded(self) -> None:
        """Note what is loaded. From the event loop, as the catalog is its own."""
        names = {entry.name for entry in self._catalog.entries()}
        self._loaded = {name: set(self._catalog.ready(name)) for name in names}

    def __call__(self, name: str, there: Collection[int], labelled: Collection[int]) -> set[int]:
        """Out of the versions ``there``."""
        loaded = self._loaded.get(name, set()) & set(there)
        if self._policy_of is None:
            return loaded
        return self._policy_of(name).wanted(there, labelled) | loaded


class Mirroring:
    """Keeps a mirror as its store says.

    Args:
        mirror: What to keep.
        choice: Told before each look what is loaded.
        metrics: Of the store.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        mirror: Mirror,
        choice: Choice,
        metrics: StoreMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._mirror = mirror
        self._choice = choice
        self._metrics = metrics
        self._clock = clock
        self._complaint = ""
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look for the first time. Where something is here already, a store that takes its time
        does not hold up the start."""
        self._looking = asyncio.create_task(self.look())
        patience_s = _PATIENCE_S if await asyncio.to_thread(self._mirror.cached_bytes) else None
        await asyncio.wait({self._looking}, timeout=patience_s)

    async def run(self, interval_s: float) -> None:
        """Look every ``interval_s`` seconds until cancelled."""
        if self._looking is not None:
            await self._looking
        while True:
            await asyncio.sleep(interval_s)
            await self.look()

    async def look(self) -> None:
        """Look once. An outage is logged when it begins and when it ends."""
        self._choice.note_loaded()
        try:
            await _in_daemon_thread(self._mirror.refresh)
            cached_bytes = await asyncio.to_thread(self._mirror.cached_bytes)
        except RepositoryError as error:
            self._metrics.reachable.set(0)
            self._complain(str(error))
        except Exception:  # whatever it was, what is served goes on
            self._metrics.reachable.set(0)
            log.exception("the store could not be followed")
        else:
            self._metrics.reachable.set(1)
            self._metrics.seen.set(self._clock())
            self._metrics.cache_bytes.set(cached_bytes)
            self._complain("")

    def _complain(self, complaint: str) -> None:
        fields = {"store": self._mirror.store.url}
        if complaint and not self._complaint:
            text = "the store cannot be followed; what is here serves: %s"
            log.error(text, complaint, extra={"fields": fields})
        elif self._complaint and not complaint:
            log.info("the store can be followed again", extra={"fields": fields})
        self._complaint = complaint


def telling(metrics: StoreMetrics) -> Callable[[Event, str, int, str], None]:
    """Logs and counts what becomes of versions."""
    for event in Event:
        metrics.versions.labels(event.value)

    def tell(event: Event, model: str, version: int, reason: str) -> None:
        metrics.versions.labels(event.value).inc()
        fields = {"model": model, "version": version, "reason": reason}
        log.log(
            _LEVELS.get(event, logging.INFO), "store: version %s", event, extra={"fields": fields}
        )

    return tell


async def _in_daemon_thread(work: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        outcome: BaseException | None = None
        try:
            work()
        except BaseException as error:
            outcome = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(finish, outcome)

    threading.Thread(target=run, name="store", daemon=True).start()
    await done
