"""An engine that runs out of memory while it serves: smaller batches, then no more requests."""

import asyncio
from collections.abc import Sequence

import pytest

from server.catalog.entry import Selection, State
from server.errors import EngineMemoryError, NotReadyError
from server.pipeline.engine import Engine, Scores, Work
from tests.artifacts import publish_tiny_artifact
from tests.unit.server.catalog.conftest import World


class Cramped:
    """An engine with room for so many images at a time."""

    def __init__(self, engine: Engine, room: int) -> None:
        self._engine = engine
        self.room = room
        self.sizes: list[int] = []

    def run(self, batch: Sequence[Work]) -> list[Scores | Exception]:
        self.sizes.append(len(batch))
        if len(batch) > self.room:
            raise MemoryError
        return self._engine.run(batch)


async def cramped(world: World, room: int) -> Cramped:
    publish_tiny_artifact(world.root)
    await world.follower.look()
    lanes = world.catalog.servable(Selection()).engine
    engine = Cramped(lanes._engine, room)
    lanes.take_over(engine, {1: 1.0, 2: 1.0})
    return engine


async def test_what_fits_in_smaller_batches_is_answered_in_them(world: World) -> None:
    engine = await cramped(world, room=1)
    for _ in range(3):
        await asyncio.gather(*(world.classify(colour) for colour in ("red", "green", "blue")))
    tried = engine.sizes.count(2)
    assert tried <= 1  # batches of two are not tried again
    assert world.entry(1).state is State.READY


async def test_a_version_without_memory_for_an_image_takes_no_more_requests(world: World) -> None:
    engine = await cramped(world, room=0)
    for _ in range(3):
        assert world.catalog.is_ready()
        with pytest.raises(EngineMemoryError):
            await world.classify()
    entry = world.entry(1)
    assert entry.state is State.FAILED
    assert "no memory" in entry.reason
    assert not world.catalog.is_ready()
    with pytest.raises(NotReadyError):
        await world.classify()
    assert len(engine.sizes) == 3
    await asyncio.gather(*world.loader._leaving)
    assert entry.servable is None
    labels = {"model": entry.name, "version": "1", "reason": "memory"}
    failures = "menagerie_model_load_failures_total"
    assert world.metrics.registry.get_sample_value(failures, labels) == 1
    await world.follower.look()  # and is loaded anew, now that what it held is free
    assert (await world.classify())[0] == 1
