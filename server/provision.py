"""Which models the server has: the catalog and what fills it, from settings. ``composition``
alone calls it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from server.catalog.catalog import Catalog
from server.catalog.control import Control
from server.catalog.follow import Follower
from server.catalog.loading import Loader
from server.catalog.memory import memory_budget
from server.catalog.options import EngineOptions
from server.catalog.policy import VersionPolicy, parse_policy
from server.catalog.route_store import KeptRoutes, RouteStore
from server.catalog.shadow import Shadows
from server.catalog.takeover import TakeOvers
from server.pipeline.decode import DecodePool
from server.settings import Settings, SettingsError
from server.source import Source, source_of
from server.tasks import beside
from server.telemetry.metrics import Metrics

_BUDGETED_SHARE = 0.9  # of the memory that is free: requests need some, too


class TellServing(Protocol):
    """Told whether requests that name nothing are served."""

    async def __call__(self, *, serving: bool) -> None:
        """Be told."""
        ...


@dataclass(frozen=True)
class Provision:
    """The models and what changes them.

    Attributes:
        source: Where models lie.
        catalog: Answers requests.
        control: For administrators.
        shadows: Has versions on trial answer copies.
        routes: What administrators have set, kept on disk.
    """

    settings: Settings
    source: Source
    catalog: Catalog
    loader: Loader
    follower: Follower
    control: Control
    shadows: Shadows
    routes: KeptRoutes

    async def load(self) -> None:
        """Load what is to be there from the start."""
        with _naming_state_dir(self.settings):
            await self.routes.restore()
        await self.source.start()
        if self.settings.model_control == "watch":
            await self.follower.look()
            return
        for name in self.settings.start_models:
            versions = await asyncio.to_thread(self.source.called.versions, name)
            for version in sorted(_policy(self.settings, name).wanted(versions), reverse=True):
                await self.loader.load(name, version)

    @asynccontextmanager
    async def kept(self, tell: TellServing) -> AsyncIterator[None]:
        """Follow the repository inside the block, and ``tell`` whenever readiness has changed."""
        interval_s = self.settings.repository_poll_s
        await tell(serving=self.catalog.is_ready())
        telling = beside(_tell(self.catalog, tell))
        async with (
            telling,
            self.shadows.at_work(),
            self.routes.at_work(),
            beside(self.source.run()),
        ):
            if self.settings.model_control == "explicit" or interval_s == 0:
                yield
            else:
                async with beside(self.follower.run(interval_s)):
                    yield


def provision(
    settings: Settings,
    decoder: DecodePool,
    options: EngineOptions,
    metrics: Metrics,
    takeovers: TakeOvers | None,
) -> Provision:
    """Everything about models, with nothing loaded yet.

    Raises:
        SettingsError: The folder for state is no good.
        RepositoryError: The repository is no folder, or no store that can be opened.
    """
    default_labels = {name: model.default_label for name, model in settings.models.items()}
    catalog = Catalog(settings.default_model, decoder, default_labels)
    budget = settings.memory_limit_bytes or round(_BUDGETED_SHARE * memory_budget(options.device))

    def policy_of(name: str) -> VersionPolicy:
        return _policy(settings, name)

    source = source_of(settings, catalog, policy_of, metrics)
    loader = Loader(source.called, catalog, decoder, options, metrics, budget, takeovers)
    follower = Follower(source.followed, catalog, loader, policy_of)
    followed = follower if settings.model_control == "watch" else None
    routes = KeptRoutes(catalog, _route_store(settings))
    control = Control(source.called, catalog, loader, followed, policy_of, routes.settled)
    shadows = Shadows(catalog, decoder, options.lanes, metrics)
    return Provision(settings, source, catalog, loader, follower, control, shadows, routes)


def _route_store(settings: Settings) -> RouteStore | None:
    if settings.state_dir is None:
        return None
    with _naming_state_dir(settings):
        return RouteStore(settings.state_dir)


@contextmanager
def _naming_state_dir(settings: Settings) -> Iterator[None]:
    """Say that the folder is no good."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"state_dir: {settings.state_dir}: {error.strerror}") from error


def _policy(settings: Settings, name: str) -> VersionPolicy:
    own = settings.models.get(name)
    return parse_policy(own.versions if own and own.versions else settings.version_policy)


async def _tell(catalog: Catalog, tell: TellServing) -> None:
    changed = asyncio.Event()
    catalog.on_change(changed.set)
    while True:
        await changed.wait()
        changed.clear()
        await tell(serving=catalog.is_ready())
