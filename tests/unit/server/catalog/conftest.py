"""A catalog over a repository of tiny artifacts, with real engines."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from models.image_header import ImageLimits
from models.repository import ModelRepository
from server.access.quotas import Limits, Quota
from server.catalog.catalog import Catalog
from server.catalog.classification import Classification
from server.catalog.control import Control
from server.catalog.entry import Entry, Selection, State
from server.catalog.follow import Follower
from server.catalog.loading import Loader
from server.catalog.policy import VersionPolicy
from server.catalog.shadow import Shadows
from server.pipeline.decode import DecodePool, RawPixels
from server.pipeline.lanes import Lanes
from server.pipeline.views import Quality
from server.rpc.answers import CatalogAnswers
from server.rpc.calls import Caller
from server.rpc.feedback import AnswerMemory
from server.rpc.response_cache import ResponseCache
from server.telemetry.metrics import Metrics
from server.telemetry.request_log import RequestLog
from tests.artifacts import TINY_NAME, TINY_SIDE, coloured
from tests.engines import engine_options


class Clock:
    """Seconds as the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """Everything that loads and routes.

    Attributes:
        root: The repository's folder.
        policy: Of every model; the test may change it.
    """

    root: Path
    repository: ModelRepository
    catalog: Catalog
    loader: Loader
    follower: Follower
    control: Control
    clock: Clock
    metrics: Metrics
    policy: VersionPolicy
    shadows: Shadows
    lanes: Lanes

    def states(self, name: str = TINY_NAME) -> dict[int, State]:
        return {number: entry.state for number, entry in self.catalog.versions(name).items()}

    def entry(self, version: int, name: str = TINY_NAME) -> Entry:
        return self.catalog.versions(name)[version]

    async def classify(self, colour: str = "red", **selection: str) -> tuple[int, Classification]:
        """The version that answers, and its answer."""
        servable = self.catalog.servable(Selection(**selection))
        source = pixels(colour)
        answer = await servable.classify(source, 3, 0.0)
        self.shadows.offer(servable, source, Quality.ONCE, answer)
        assert answer.predictions[0].label.id == colour
        return servable.manifest.version, answer


def pixels(colour: str) -> RawPixels:
    """An image that the tiny artifact takes for ``colour``."""
    data = coloured(colour).permute(1, 2, 0).contiguous().numpy().tobytes()
    return RawPixels(data, TINY_SIDE, TINY_SIDE, "image")


def answers_of(
    world: World, cache_bytes: int = 0, memory: AnswerMemory | None = None
) -> CatalogAnswers:
    """The world's answers to requests, of which so many bytes are kept."""
    return CatalogAnswers(
        world.catalog,
        world.metrics,
        RequestLog(0.0, 0.0),
        None,
        60.0,
        memory or AnswerMemory(world.metrics, None, 10),
        world.shadows,
        None,
        ResponseCache(cache_bytes, world.metrics),
    )


def a_caller(deadline: float = inf) -> Caller:
    """Somebody without limits."""
    return Caller("ann", deadline, Quota("ann", Limits(), time.monotonic))


def world_in(
    root: Path, decoder: DecodePool, *, budget_bytes: int = 2**40, explicit: bool = False
) -> World:
    """A world over the repository at ``root``, in the running event loop."""
    made: list[World] = []
    options = engine_options()
    repository, catalog = ModelRepository(root), Catalog("", decoder)
    metrics, clock = Metrics(CollectorRegistry()), Clock()
    loader = Loader(repository, catalog, decoder, options, metrics, budget_bytes)

    def policy(_name: str) -> VersionPolicy:
        return made[0].policy

    follower = Follower(repository, catalog, loader, policy, clock)
    control = Control(repository, catalog, loader, None if explicit else follower, policy)
    world = World(
        root,
        repository,
        catalog,
        loader,
        follower,
        control,
        clock,
        metrics,
        VersionPolicy(latest=1),
        Shadows(catalog, decoder, options.lanes, metrics, most_copies=4),
        options.lanes,
    )
    made.append(world)
    return world


Make = Callable[..., World]


@pytest.fixture
async def world_of(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes a world; ``budget_bytes`` and ``explicit`` may be given."""
    root = tmp_path / "repository"
    root.mkdir()
    decoder = DecodePool(1, 64, ImageLimits())
    made: list[World] = []

    def make(**options: int) -> World:
        made.append(world_in(root, decoder, **options))
        return made[-1]

    yield make
    for world in made:
        await world.catalog.drain()
    decoder.close()


@pytest.fixture
def world(world_of: Make) -> World:
    return world_of()
