"""What administrators may change while requests flow."""

import asyncio
import time
from collections import Counter

import pytest

from server.catalog.entry import Selection, State
from server.catalog.policy import VersionPolicy
from server.errors import (
    DrainingError,
    InvalidRequestError,
    LoadFailedError,
    NotFoundError,
    PreconditionError,
)
from tests.artifacts import TINY_NAME, publish_tiny_artifact
from tests.unit.server.catalog.conftest import Make, World


async def two_versions(world: World) -> None:
    world.policy = VersionPolicy(latest=2)
    for _ in range(2):
        publish_tiny_artifact(world.root)
    await world.follower.look()
    assert world.states() == {1: State.READY, 2: State.READY}


def answering(world: World, count: int, key: str = "") -> Counter[int]:
    """Which versions get ``count`` requests."""
    selection = Selection(key=key)
    return Counter(world.catalog.servable(selection).manifest.version for _ in range(count))


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 0.5, 1.0])
async def test_a_canary_gets_its_share(world: World, share: float) -> None:
    await two_versions(world)
    world.control.set_canary(TINY_NAME, 2, share)
    counted = answering(world, 50_000)
    assert abs(counted[2] / 50_000 - share) < 0.001
    assert counted[1] == 50_000 - counted[2]


async def test_a_key_always_meets_the_same_version_and_keys_keep_to_the_share(
    world: World,
) -> None:
    await two_versions(world)
    world.control.set_canary(TINY_NAME, 2, 0.2)
    met = Counter()
    for user in range(20_000):
        versions = answering(world, 2, key=f"user-{user}")
        assert len(versions) == 1
        met.update(versions.keys())
    assert abs(met[2] / 20_000 - 0.2) < 0.01


async def test_requests_that_name_a_version_or_label_meet_no_canary(world: World) -> None:
    await two_versions(world)
    world.control.set_label(TINY_NAME, "stable", 1)
    world.control.set_canary(TINY_NAME, 2, 1.0)
    assert (await world.classify(version="1"))[0] == 1
    assert (await world.classify(label="stable"))[0] == 1
    assert (await world.classify())[0] == 2
    world.control.set_canary(TINY_NAME, 2, 0.0)
    assert (await world.classify())[0] == 2


async def test_rollback_ends_a_canary_and_then_goes_back(world: World) -> None:
    await two_versions(world)
    publish_tiny_artifact(world.root)
    world.policy = VersionPolicy(latest=3)
    await world.follower.look()
    world.control.set_canary(TINY_NAME, 3, 0.5)
    assert (await world.control.roll_back(TINY_NAME)).version == 2
    assert answering(world, 100) == {2: 100}
    began = time.perf_counter()
    assert (await world.control.roll_back(TINY_NAME)).version == 1
    assert time.perf_counter() - began < 0.1
    assert answering(world, 100) == {1: 100}
    with pytest.raises(PreconditionError, match="no version before 1"):
        await world.control.roll_back(TINY_NAME)


async def test_what_was_rolled_back_stays_so_and_a_newer_version_takes_over(world: World) -> None:
    await two_versions(world)
    await world.control.roll_back(TINY_NAME)
    await world.follower.look()
    assert (await world.classify())[0] == 1
    publish_tiny_artifact(world.root)
    await world.follower.look()
    assert (await world.classify())[0] == 3


async def test_rollback_loads_what_is_not_there_any_more(world: World) -> None:
    publish_tiny_artifact(world.root)
    publish_tiny_artifact(world.root)
    await world.follower.look()
    assert world.states() == {2: State.READY}
    assert (await world.control.roll_back(TINY_NAME)).version == 1
    assert (await world.classify())[0] == 1
    await world.follower.look()
    assert world.states() == {1: State.READY}


async def test_rollback_to_a_damaged_version_changes_nothing(world: World) -> None:
    publish_tiny_artifact(world.root)
    publish_tiny_artifact(world.root)
    await world.follower.look()
    (world.root / TINY_NAME / "1" / "golden.npz").unlink()
    with pytest.raises(LoadFailedError, match=r"golden\.npz"):
        await world.control.roll_back(TINY_NAME)
    assert (await world.classify())[0] == 2


async def test_labels_by_call_come_before_those_of_the_repository(world: World) -> None:
    await two_versions(world)
    (world.root / TINY_NAME / "labels.json").write_text('{"stable": 1}')
    await world.follower.look()
    world.control.set_label(TINY_NAME, "stable", 2)
    await world.follower.look()
    assert (await world.classify(label="stable"))[0] == 2
    world.control.set_label(TINY_NAME, "stable", None)
    assert (await world.classify(label="stable"))[0] == 1


@pytest.mark.parametrize("label", ["latest", "", "../x", "Stable", "a" * 64])
async def test_labels_that_are_none(world: World, label: str) -> None:
    await two_versions(world)
    with pytest.raises(InvalidRequestError, match="label"):
        world.control.set_label(TINY_NAME, label, 1)


async def test_who_follows_a_repository_loads_nothing_by_call(world: World) -> None:
    await two_versions(world)
    with pytest.raises(PreconditionError, match="model_control explicit"):
        await world.control.load(TINY_NAME)
    with pytest.raises(PreconditionError, match="model_control explicit"):
        await world.control.unload(TINY_NAME)


async def test_load_and_unload_by_call(world_of: Make) -> None:
    world = world_of(explicit=True)
    publish_tiny_artifact(world.root)
    assert [entry.version for entry in await world.control.load(TINY_NAME)] == [1]
    publish_tiny_artifact(world.root)
    assert (await world.classify())[0] == 1
    await world.control.load(TINY_NAME)
    assert world.states() == {2: State.READY}
    await world.control.load(TINY_NAME, 1)
    assert world.states() == {1: State.READY, 2: State.READY}
    await world.control.unload(TINY_NAME, 2)
    assert (await world.classify())[0] == 1
    await world.control.unload(TINY_NAME)
    with pytest.raises(NotFoundError):
        await world.classify()


async def test_a_load_that_fails_leaves_what_was_loaded(world_of: Make) -> None:
    world = world_of(explicit=True)
    publish_tiny_artifact(world.root)
    await world.control.load(TINY_NAME)
    publish_tiny_artifact(world.root)
    (world.root / TINY_NAME / "2" / "model.pt").unlink()
    with pytest.raises(LoadFailedError, match=r"version 2: model\.pt cannot be read"):
        await world.control.load(TINY_NAME)
    assert (await world.classify())[0] == 1


@pytest.mark.parametrize("name", ["", "..", "../tiny", "/etc", "s3://bucket/x", "tiny/1", "TINY"])
async def test_no_name_is_a_path(world_of: Make, name: str) -> None:
    world = world_of(explicit=True)
    publish_tiny_artifact(world.root)
    with pytest.raises((InvalidRequestError, NotFoundError)):
        await world.control.load(name)


async def test_a_version_comes_back_once_it_has_left(world_of: Make) -> None:
    world = world_of(explicit=True)
    publish_tiny_artifact(world.root)
    await world.control.load(TINY_NAME)
    with world.entry(1).servable._busy:
        leaving = asyncio.create_task(world.control.unload(TINY_NAME))
        await asyncio.sleep(0)
        assert world.states() == {1: State.DRAINING}
        coming = asyncio.create_task(world.control.load(TINY_NAME))
        await asyncio.wait({coming}, timeout=0.2)
    await leaving
    await coming
    assert world.states() == {1: State.READY}
    for metric in (world.metrics.model_info, world.metrics.engine_info):
        assert len(metric.collect()[0].samples) == 1


async def test_a_version_that_is_being_unloaded_says_so(world: World) -> None:
    await two_versions(world)
    world.entry(1).state = State.DRAINING
    with pytest.raises(DrainingError, match="version 1 is being unloaded"):
        world.catalog.servable(Selection(version="1"))
    world.entry(1).state = State.READY
