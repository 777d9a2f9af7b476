"""The catalog follows the repository, and nothing that lies there harms what is served."""

import asyncio
import gc
import json
import logging
import os
import re
import shutil
import weakref
from pathlib import Path

import pytest

from models.artifact import Artifact
from models.repository import ModelRepository
from server.catalog import loading
from server.catalog.entry import State
from server.catalog.policy import VersionPolicy
from server.catalog.servable import Servable
from server.errors import NotReadyError
from tests.artifacts import TINY_NAME, publish_tiny_artifact, write_tiny_artifact
from tests.unit.server.catalog.conftest import Make, World
from tests.unit.server.catalog.damage import KINDS, Damage


async def test_a_new_version_takes_over_and_the_old_one_leaves(world: World) -> None:
    publish_tiny_artifact(world.root)
    await world.follower.look()
    assert (await world.classify())[0] == 1
    publish_tiny_artifact(world.root)
    await world.follower.look()
    assert (await world.classify())[0] == 2
    assert world.states() == {2: State.READY}


async def test_the_old_version_serves_while_the_new_one_loads(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_tiny_artifact(world.root)
    await world.follower.look()
    begun, go_on, load = asyncio.Event(), asyncio.Event(), Servable.load

    async def slow_load(*arguments: object) -> Servable:
        begun.set()
        await go_on.wait()
        return await load(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Servable, "load", slow_load)
    publish_tiny_artifact(world.root)
    look = asyncio.create_task(world.follower.look())
    await begun.wait()
    assert world.states() == {1: State.READY, 2: State.LOADING}
    assert (await world.classify())[0] == 1
    go_on.set()
    await look
    assert (await world.classify())[0] == 2


async def test_what_the_old_version_accepted_is_answered_by_it(world: World) -> None:
    publish_tiny_artifact(world.root)
    await world.follower.look()
    accepted = asyncio.create_task(world.classify())
    await asyncio.sleep(0)  # it has been accepted, and no more
    publish_tiny_artifact(world.root)
    await world.follower.look()
    assert (await accepted)[0] == 1
    assert (await world.classify())[0] == 2


@pytest.mark.parametrize(("damage", "reason"), KINDS.values(), ids=list(KINDS))
async def test_a_damaged_version_fails_with_its_reason_and_harms_nobody(
    world: World, damage: Damage, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    publish_tiny_artifact(world.root)
    await world.follower.look()
    serving = world.entry(1).servable
    publish_tiny_artifact(world.root)
    damage(world.root / TINY_NAME / "2")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await world.follower.look()
            assert (await world.classify())[0] == 1
    assert world.states() == {1: State.READY, 2: State.FAILED}
    assert world.entry(1).servable is serving
    assert reason in world.entry(2).reason
    failures = [record for record in caplog.records if "model failed" in record.message]
    assert len(failures) == 1, "it must not be tried at every look"
    assert reason in failures[0].message
    assert failed_loads(world) == 1
    with pytest.raises(NotReadyError, match="FAILED"):
        await world.classify(version="2")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
async def test_an_unreadable_version(world: World) -> None:
    publish_tiny_artifact(world.root)
    await world.follower.look()
    publish_tiny_artifact(world.root)
    (world.root / TINY_NAME / "2" / "model.pt").chmod(0)
    await world.follower.look()
    assert "Permission denied" in world.entry(2).reason
    assert (await world.classify())[0] == 1


async def test_a_version_that_is_deleted_while_it_loads(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_tiny_artifact(world.root)
    await world.follower.look()
    publish_tiny_artifact(world.root)
    read = ModelRepository.read

    def read_what_goes(repository: ModelRepository, model: str, version: int) -> Artifact:
        shutil.rmtree(world.root / model / str(version))
        return read(repository, model, version)

    monkeypatch.setattr(ModelRepository, "read", read_what_goes)
    await world.follower.look()
    assert "has no version 2" in world.entry(2).reason
    monkeypatch.undo()
    await world.follower.look()
    assert world.states() == {1: State.READY}
    assert (await world.classify())[0] == 1


async def test_a_copy_that_is_completed_is_loaded_then(world: World) -> None:
    publish_tiny_artifact(world.root)
    await world.follower.look()
    publish_tiny_artifact(world.root)
    folder = world.root / TINY_NAME / "2"
    weights = (folder / "model.pt").read_bytes()
    (folder / "model.pt").write_bytes(weights[:100])
    await world.follower.look()
    assert world.states()[2] is State.FAILED
    (folder / "model.pt").write_bytes(weights)
    await world.follower.look()
    assert world.states() == {2: State.READY}


async def test_what_failed_is_tried_again_after_ever_longer_breaks(world: World) -> None:
    publish_tiny_artifact(world.root)
    publish_tiny_artifact(world.root)
    (world.root / TINY_NAME / "2" / "model.pt").unlink()
    tries = []
    for _ in range(10):
        await world.follower.look()
        tries.append(failed_loads(world))
        world.clock.now += 45.0
    assert tries == [1, 1, 2, 2, 2, 3, 3, 3, 3, 3]  # at 0, 90, 225 and then 450 s


async def test_at_start_an_older_version_stands_in_for_a_damaged_one(world: World) -> None:
    for _ in range(3):
        publish_tiny_artifact(world.root)
    (world.root / TINY_NAME / "3" / "golden.npz").unlink()
    await world.follower.look()
    assert world.states() == {3: State.FAILED, 2: State.READY}


async def test_a_repository_that_disappears_takes_nothing_with_it(world: World) -> None:
    publish_tiny_artifact(world.root)
    await world.follower.look()
    shutil.rmtree(world.root)
    await world.follower.look()
    assert (await world.classify())[0] == 1


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (VersionPolicy(latest=2), {3, 4}),
        (VersionPolicy(), {1, 2, 3, 4}),
        (VersionPolicy(listed=frozenset({1, 3, 9})), {1, 3}),
    ],
    ids=["latest", "all", "listed"],
)
async def test_policies(world: World, policy: VersionPolicy, expected: set[int]) -> None:
    for _ in range(4):
        publish_tiny_artifact(world.root)
    world.policy = policy
    await world.follower.look()
    assert set(world.states()) == expected
    assert (await world.classify())[0] == max(expected)


async def test_labels_move_once_their_version_is_ready(world: World) -> None:
    publish_tiny_artifact(world.root)
    point(world.root, 1)
    await world.follower.look()
    publish_tiny_artifact(world.root)
    await world.follower.look()
    assert world.states() == {1: State.READY, 2: State.READY}  # a label keeps its version
    assert (await world.classify(label="stable"))[0] == 1
    assert (await world.classify(label="latest"))[0] == 2
    point(world.root, 2)
    await world.follower.look()
    assert (await world.classify(label="stable"))[0] == 2
    assert world.states() == {2: State.READY}


async def test_a_label_never_moves_to_a_damaged_version(world: World) -> None:
    publish_tiny_artifact(world.root)
    point(world.root, 1)
    await world.follower.look()
    publish_tiny_artifact(world.root)
    (world.root / TINY_NAME / "2" / "model.pt").unlink()
    point(world.root, 2)
    await world.follower.look()
    assert (await world.classify(label="stable"))[0] == 1


async def test_malformed_labels_stay_as_they_were(world: World) -> None:
    publish_tiny_artifact(world.root)
    point(world.root, 1)
    await world.follower.look()
    (world.root / TINY_NAME / "labels.json").write_text("{")
    await world.follower.look()
    assert (await world.classify(label="stable"))[0] == 1


async def test_labels_set_by_call_do_not_become_the_repositorys(world: World) -> None:
    publish_tiny_artifact(world.root)
    await world.follower.look()
    world.control.set_label(TINY_NAME, "stable", 1)
    (world.root / TINY_NAME / "labels.json").write_text("{")
    await world.follower.look()
    world.control.set_label(TINY_NAME, "stable", None)
    assert world.catalog.labels(TINY_NAME) == {}


async def test_what_does_not_fit_is_refused_with_what_would_have_to_go(world_of: Make) -> None:
    artifact = 150_000  # bytes that the tiny one takes while it loads, and a little less after
    world = world_of(budget_bytes=artifact + artifact // 2)
    publish_tiny_artifact(world.root)
    await world.follower.look()
    publish_tiny_artifact(world.root, name="other")
    await world.follower.look()
    assert re.fullmatch(
        r"other version 1 needs about 0\.1 MiB; 0\.1 MiB of 0\.2 MiB are free: to make room,"
        r" tiny version 1 \(0\.1 MiB\) would have to go",
        world.entry(1, "other").reason,
    )
    assert (await world.classify(name=TINY_NAME))[0] == 1


async def test_what_would_not_fit_alone_says_so(world_of: Make) -> None:
    world = world_of(budget_bytes=1000)
    publish_tiny_artifact(world.root)
    await world.follower.look()
    assert world.entry(1).reason.endswith("would not fit alone either")


async def test_metrics_of_versions_that_have_gone_do_not_pile_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_REMEMBERED", 2)
    for _ in range(5):
        publish_tiny_artifact(world.root)
        await world.follower.look()
        await world.classify()
    versions = {
        sample.labels["version"]
        for family in world.metrics.registry.collect()
        for sample in family.samples
        if sample.labels.get("model") == TINY_NAME
    }
    assert versions == {"3", "4", "5"}
    infos = world.metrics.model_info.collect()[0].samples
    assert [sample.labels["version"] for sample in infos] == ["5"]


async def test_nothing_holds_on_to_a_version_that_has_gone(world: World) -> None:
    left = []
    for version in range(1, 4):
        publish_tiny_artifact(world.root)
        await world.follower.look()
        await world.classify()
        left.append(weakref.ref(world.entry(version).servable))
    gc.collect()
    assert [servable() is None for servable in left] == [True, True, False]


def point(root: Path, version: int) -> None:
    (root / TINY_NAME / "labels.json").write_text(json.dumps({"stable": version}))


def failed_loads(world: World) -> float:
    return sum(
        sample.value
        for sample in world.metrics.load_failures.collect()[0].samples
        if sample.name.endswith("_total") and sample.labels["version"] == "2"
    )


def versions_in_metrics(world: World) -> set[str]:
    return {
        sample.labels["version"]
        for metric in world.metrics.registry.collect()
        for sample in metric.samples
        if sample.labels.get("version")
    }


async def test_versions_that_left_leave_the_metrics_too(world: World) -> None:
    """The last few stay, for the last scrape; one that failed leaves as others do."""
    for _ in range(loading._REMEMBERED + 3):
        version = publish_tiny_artifact(world.root)
        (world.root / TINY_NAME / str(version) / "golden.npz").write_bytes(b"damaged")
        await world.follower.look()
        assert str(version) in versions_in_metrics(world)
        shutil.rmtree(world.root / TINY_NAME / str(version))
        write_tiny_artifact(world.root, version=version + 1)  # so that numbers go on
        await world.follower.look()
    assert len(versions_in_metrics(world)) <= loading._REMEMBERED + 1


async def test_a_version_that_came_back_keeps_its_metrics(world: World) -> None:
    publish_tiny_artifact(world.root)
    await world.loader.load(TINY_NAME, 1)
    await world.loader.unload(world.entry(1))
    await world.loader.load(TINY_NAME, 1)
    for _ in range(loading._REMEMBERED + 1):
        version = publish_tiny_artifact(world.root)
        (world.root / TINY_NAME / str(version) / "golden.npz").write_bytes(b"damaged")
        world.loader.forget(await world.loader.load(TINY_NAME, version))
    await world.classify()
    counted = world.metrics.registry.get_sample_value(
        "menagerie_decode_seconds_count", {"model": TINY_NAME, "version": "1"}
    )
    assert counted == 1


async def test_a_version_that_fails_for_another_reason_says_so(world: World) -> None:
    publish_tiny_artifact(world.root)
    place = world.root / TINY_NAME / "2"
    place.write_bytes(b"")
    await world.follower.look()
    entry = world.entry(2)
    assert entry.reason == "2 is no folder"
    await world.follower.look()
    assert world.entry(2) is entry  # not failed again at every look
    place.unlink()
    place.symlink_to(world.root)
    await world.follower.look()
    assert world.entry(2).reason == "2 is a link"
