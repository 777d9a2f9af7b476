"""Brings versions in and out: verified, planned, loaded, warmed and proven beside the others.

A version that fails anywhere on its way becomes FAILED with the reason. It took no traffic, and
nothing that did was touched.
"""

import asyncio
import gc
import logging
import time
from collections import deque
from functools import partial

import torch

from models.artifact import Artifact
from models.errors import (
    GoldenMismatchError,
    IntegrityError,
    ManifestError,
    ModelsError,
    RepositoryError,
)
from models.repository import ModelRepository
from server.catalog.catalog import Catalog
from server.catalog.entry import Entry, State
from server.catalog.memory import DoesNotFitError, check_fits, need_of
from server.catalog.options import EngineOptions
from server.catalog.servable import Servable
from server.catalog.takeover import TakeOvers
from server.errors import EngineMemoryError, ServingError
from server.heaps import trim_heaps
from server.pipeline.decode import DecodePool
from server.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_REMEMBERED = 8  # versions that have gone and whose metrics stay, so that the last scrape has them
_KINDS: dict[type[Exception], str] = {
    IntegrityError: "integrity",
    ManifestError: "manifest",
    GoldenMismatchError: "golden",
    RepositoryError: "repository",
    DoesNotFitError: "memory",
    EngineMemoryError: "memory",
}


class Loader:
    """Loads one version at a time and unloads any number.

    Args:
        repository: Where artifacts lie.
        catalog: Where versions are entered.
        decoder: Shared by all models.
        options: How engines run.
        metrics: The server's metrics.
        budget_bytes: Memory for all versions together.
        takeovers: Compiles what was loaded; None: TorchScript serves.
    """

    def __init__(
        self,
        repository: ModelRepository,
        catalog: Catalog,
        decoder: DecodePool,
        options: EngineOptions,
        metrics: Metrics,
        budget_bytes: int,
        takeovers: TakeOvers | None = None,
    ) -> None:
        self._repository = repository
        self._catalog = catalog
        self._decoder = decoder
        self._options = options
        self._metrics = metrics
        self._budget_bytes = budget_bytes
        self._takeovers = takeovers
        self._one_at_a_time = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()
        self._gone: deque[tuple[str, str]] = deque()
        self._releases: dict[tuple[str, int], asyncio.Event] = {}

    async def load(self, name: str, version: int) -> Entry:
        """Load a version; it takes requests once it is READY.

        Returns:
            Its entry: READY, or FAILED with the reason.
        """
        async with self._one_at_a_time:
            if (release := self._releases.get((name, version))) is not None:
                await release.wait()  # or what it takes away would be what is told of the new one
            known = self._catalog.versions(name).get(version)
            if known is not None and known.state in (State.READY, State.LOADING):
                return known
            entry = Entry(name, version)
            self._catalog.add(entry)
            if (back := (name, str(version))) in self._gone:
                self._gone.remove(back)  # or its metrics would be dropped while it counts
            try:
                await self._bring_in(entry)
            except asyncio.CancelledError:
                self._catalog.remove(entry)
                raise
            except (ModelsError, DoesNotFitError) as error:
                self._fail(entry, str(error), error)
            except ServingError as error:
                self._fail(entry, str(error), error)
            except Exception as error:
                log.exception("model failed", extra={"fields": _fields(entry)})
                self._fail(entry, "the engine could not load it; see the logs", error)
            self._catalog.changed()
            return entry

    def fail(self, name: str, version: int, reason: str) -> None:
        """Enter a version that cannot even be tried."""
        entry = Entry(name, version)
        self._catalog.add(entry)
        self._fail(entry, reason, RepositoryError(reason))
        self._catalog.changed()

    async def unload(self, entry: Entry) -> None:
        """Take no more requests for a version, answer those it has, and free what it held."""
        if entry.state is State.READY:
            entry.state = State.DRAINING
            self._catalog.changed()
            log.info("model draining", extra={"fields": _fields(entry)})
        if entry.servable is not None:
            await self._release(entry, entry.servable)
        self.forget(entry)
        log.info("model unloaded", extra={"fields": _fields(entry)})

    def forget(self, entry: Entry) -> None:
        """Speak no more of a version that holds nothing."""
        self._catalog.remove(entry)
        gone = entry.name, str(entry.version)
        self._gone = deque(each for each in self._gone if each != gone)
        self._gone.append(gone)
        if len(self._gone) > _REMEMBERED:
            self._metrics.forget(*self._gone.popleft())

    async def _bring_in(self, entry: Entry) -> None:
        artifact: Artifact = await asyncio.to_thread(
            self._repository.read, entry.name, entry.version
        )
        began = time.monotonic()
        entry.manifest, entry.digest = artifact.manifest, artifact.digest
        options = self._options
        need = need_of(artifact.manifest, options.allotment.lanes, options.max_batch_size)
        others = [other for other in self._catalog.entries() if other.servable is not None]
        check_fits(need, entry, others, self._budget_bytes)
        entry.memory_bytes = need.serving
        servable = await Servable.load(artifact, self._decoder, options, self._metrics)
        if self._catalog.closed:
            await servable.drain()
            self._catalog.remove(entry)
            return
        entry.servable, entry.state = servable, State.READY
        servable.engine.memory.on_unfit = partial(self._give_up, entry, servable)
        if self._takeovers is not None:
            self._takeovers.add(servable, artifact)
        self._announce(entry, servable, time.monotonic() - began)

    def _give_up(self, entry: Entry, servable: Servable, reason: str) -> None:
        """A version that can compute no more takes no more requests, and frees what it holds."""
        if entry.state is not State.READY:
            return
        self._fail(entry, reason, EngineMemoryError(reason))
        self._catalog.changed()
        task = asyncio.get_running_loop().create_task(self._release(entry, servable))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _release(self, entry: Entry, servable: Servable) -> None:
        release = self._releases[entry.name, entry.version] = asyncio.Event()
        try:
            if self._takeovers is not None:
                self._takeovers.forget(servable)
            await servable.drain()
            self._withdraw(entry, servable)
            entry.servable = None
            await asyncio.to_thread(_give_back_memory)
        finally:
            self._releases.pop((entry.name, entry.version), None)
            release.set()

    def _fail(self, entry: Entry, reason: str, error: Exception) -> None:
        entry.state, entry.reason, entry.memory_bytes = State.FAILED, reason, 0
        kind = _KINDS.get(type(error), "engine")
        version = str(entry.version)
        self._metrics.load_failures.labels(entry.name, version, kind).inc()
        log.error("model failed: %s", reason, extra={"fields": {**_fields(entry), "kind": kind}})

    def _announce(self, entry: Entry, servable: Servable, load_s: float) -> None:
        info = self._info(entry, servable)
        self._metrics.model_info.labels(**info).set(1)
        self._metrics.load_seconds.labels(entry.name, str(entry.version)).set(load_s)
        log.info("model ready", extra={"fields": {**info, "load_s": round(load_s, 3)}})

    def _withdraw(self, entry: Entry, servable: Servable) -> None:
        """It takes no requests any more; counters stay until some others have gone, too."""
        self._metrics.model_info.remove_by_labels(self._info(entry, servable))
        self._metrics.forget_drift(entry.name, str(entry.version))

    def _info(self, entry: Entry, servable: Servable) -> dict[str, str]:
        return {
            "model": entry.name,
            "version": str(entry.version),
            "network": servable.manifest.network,
            "device": str(self._options.device),
            "dtype": servable.dtype,
            "digest": entry.digest,
        }


def _fields(entry: Entry) -> dict[str, object]:
    return {"model": entry.name, "version": entry.version}


def _give_back_memory() -> None:
    """Return what an unloaded version held: Python's cycles first, then the C library's heaps."""
    gc.collect()
    torch.cuda.empty_cache()  # does nothing where none was used
    trim_heaps()
