"""Where models lie, from settings: a folder, or a store with a folder that mirrors it."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from models.errors import RepositoryError, StoreError
from models.leases import Leases
from models.mirror import Mirror
from models.mirrored import CalledMirror, FollowedMirror
from models.repository import ModelRepository
from models.store_url import without_credentials
from server.catalog.catalog import Catalog
from server.catalog.mirroring import Choice, Mirroring, telling
from server.catalog.policy import VersionPolicy
from server.pipeline.compile_cache import CacheError, default_cache_folder, make_private_folder
from server.settings import Settings
from server.telemetry.metrics import Metrics
from server.telemetry.store_metrics import StoreMetrics


@dataclass(frozen=True)
class Source:
    """Where models lie.

    Attributes:
        followed: What the server follows.
        called: What calls may name: in a store, versions too that are not here yet.
        mirroring: Keeps them as the store says; None: they are a folder.
        poll_s: How often to look at the store; 0: at the start alone.
        closed: Set once nothing is to be fetched any more.
    """

    followed: ModelRepository
    called: ModelRepository
    mirroring: Mirroring | None = None
    poll_s: float = 0.0
    closed: threading.Event = field(default_factory=threading.Event)

    async def start(self) -> None:
        """Look at the store for the first time, if there is one."""
        if self.mirroring is not None:
            await self.mirroring.start()

    async def run(self) -> None:
        """Follow the store, if there is one."""
        if self.mirroring is not None and self.poll_s:
            await self.mirroring.run(self.poll_s)

    def close(self) -> None:
        """End fetching for a call, too: the process would wait for its thread."""
        self.closed.set()


def source_of(
    settings: Settings,
    catalog: Catalog,
    policy_of: Callable[[str], VersionPolicy],
    metrics: Metrics,
) -> Source:
    """Where the models of ``settings`` lie.

    Raises:
        RepositoryError: The folder is none, the store cannot be opened, or its cache not be used.
    """
    if not isinstance(settings.repository, str):
        repository = ModelRepository(settings.repository, settings.model_key)
        return Source(repository, repository)
    choice = Choice(policy_of if settings.model_control == "watch" else None, catalog)
    return _mirrored(settings, settings.repository, choice, StoreMetrics(metrics.registry))


def _mirrored(settings: Settings, url: str, choice: Choice, metrics: StoreMetrics) -> Source:
    try:
        from models.stores import Store  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise StoreError("repository: a store needs the extra 'stores'") from error
    root, key = _cache_folder(settings, url), settings.model_key
    budget_bytes = settings.store_cache_mib * 2**20
    closed = threading.Event()
    mirror = Mirror(
        Store(url),
        ModelRepository(root, key),
        Leases(root / ".leases"),
        choice,
        budget_bytes,
        telling(metrics),
        lambda: not closed.is_set(),
    )
    metrics.cache_limit_bytes.set(budget_bytes)
    mirroring = Mirroring(mirror, choice, metrics)
    # To look once alone is to look at the store once, too.
    poll_s = settings.store_poll_s if settings.repository_poll_s else 0.0
    followed, called = FollowedMirror(root, key, mirror), CalledMirror(root, key, mirror)
    return Source(followed, called, mirroring, poll_s, closed)


def _cache_folder(settings: Settings, url: str) -> Path:
    """A folder for this store alone: another may have other models of the same name."""
    cache = settings.store_cache or default_cache_folder("models")
    digest = hashlib.sha256(without_credentials(url).rstrip("/").encode()).hexdigest()
    folder = cache / digest[:16]
    try:
        make_private_folder(folder, checked=settings.store_cache_check)
        (folder / ".leases").mkdir(exist_ok=True)
    except (CacheError, OSError) as error:
        raise RepositoryError(f"store_cache: {error}") from error
    return folder
