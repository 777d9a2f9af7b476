"""Copies of requests: compared off their way, and never anybody's trouble."""

import asyncio
import threading
from collections import Counter
from contextlib import contextmanager

import pytest
from prometheus_client.core import Metric

from models.manifest import Label
from server.catalog.entry import Selection, State
from server.catalog.policy import VersionPolicy
from server.catalog.routes import Share
from server.errors import NotFoundError, PreconditionError
from server.pipeline.decode import EncodedImage, PreparedPixels
from server.pipeline.views import Quality
from tests.artifacts import TINY_NAME, coloured, publish_tiny_artifact, write_tiny_artifact
from tests.unit.server.catalog.conftest import World, pixels

WAIT_S = 60
SHUFFLED = tuple(Label(id=name, display_name=name) for name in ("green", "red", "blue"))


async def loaded(world: World, **changes: object) -> None:
    """Version 1 answers; version 2, which ``changes`` make different, has a copy of everything."""
    world.policy = VersionPolicy(latest=2)
    publish_tiny_artifact(world.root)
    publish_tiny_artifact(world.root, **changes)
    await world.follower.look()
    world.control.set_shadow(TINY_NAME, 2, 1.0)


def counted(world: World, name: str) -> Counter[str]:
    """A counter's samples, by their last label."""
    (metric,) = (each for each in world.metrics.registry.collect() if each.name == name)
    assert isinstance(metric, Metric)
    samples = [each for each in metric.samples if each.name.endswith("_total")]
    return Counter(
        {
            each.labels.get("outcome", each.labels.get("reason")): int(each.value)
            for each in samples
            if each.value
        }
    )


def outcomes(world: World) -> Counter[str]:
    return counted(world, "menagerie_shadow_answers")


def drops(world: World) -> Counter[str]:
    return counted(world, "menagerie_shadow_dropped")


def mean_shift(world: World) -> float:
    """Of the one copy that was compared, as its bucket tells."""
    (metric,) = (
        each
        for each in world.metrics.registry.collect()
        if each.name == "menagerie_shadow_score_shift"
    )
    buckets = [
        (float(each.labels["le"]), each.value) for each in metric.samples if "le" in each.labels
    ]
    return next(end for end, count in sorted(buckets) if count)


async def settled(world: World) -> None:
    """Every copy that was taken is compared or dropped."""
    await asyncio.wait_for(world.shadows.settled(), WAIT_S)


@contextmanager
def busy_lane(world: World):
    """All lanes compute something else."""
    seat = world.lanes.join(lambda: None)
    lane = seat.take(0.0, 1.0)
    yield lane
    seat.leave()


async def test_versions_that_say_the_same_agree(world: World) -> None:
    await loaded(world)
    async with world.shadows.at_work():
        for colour in ("red", "green", "blue"):
            assert (await world.classify(colour))[0] == 1
        await settled(world)
    assert outcomes(world) == {"agrees": 3}
    assert drops(world) == {}
    assert abs(mean_shift(world)) <= 0.001


async def test_labels_are_compared_by_their_id(world: World) -> None:
    await loaded(world, labels=SHUFFLED)
    async with world.shadows.at_work():
        await world.classify("red")
        await settled(world)
        assert outcomes(world) == {"disagrees": 1}
        assert mean_shift(world) <= -0.2  # red is the other's second label, and green is best
        await world.classify("blue")
        await settled(world)
    assert outcomes(world) == {"disagrees": 1, "agrees": 1}


async def test_a_label_that_the_other_lacks_has_no_score_there(world: World) -> None:
    others = tuple(Label(id=name, display_name=name) for name in ("cyan", "pink", "teal"))
    await loaded(world, labels=others)
    async with world.shadows.at_work():
        await world.classify("red")
        await settled(world)
    assert outcomes(world) == {"disagrees": 1}
    assert mean_shift(world) <= -0.5


@pytest.mark.parametrize("share", [0.1, 0.75])
async def test_copies_keep_to_their_share_and_never_touch_the_canarys(
    world: World, share: float
) -> None:
    await loaded(world)
    publish_tiny_artifact(world.root)
    world.policy = VersionPolicy(latest=3)
    await world.follower.look()
    world.control.set_canary(TINY_NAME, 3, 0.25)
    world.control.set_shadow(TINY_NAME, 2, share)
    answering, copied = Counter[int](), 0
    for _ in range(10_000):
        servable = world.catalog.servable(Selection())
        answering[servable.manifest.version] += 1
        copied += world.catalog.shadow_of(TINY_NAME, servable.manifest.version) is not None
    assert answering[2] == 0
    assert abs(answering[3] - 2500) <= 10
    assert abs(copied - 10_000 * share) <= 10


async def test_what_the_version_itself_answers_is_not_copied(world: World) -> None:
    await loaded(world)
    async with world.shadows.at_work():
        assert (await world.classify(version="2"))[0] == 2
        assert (await world.classify(version="1"))[0] == 1
        await settled(world)
    assert outcomes(world) == {"agrees": 1}


async def test_several_looks_are_not_compared_with_one(world: World) -> None:
    await loaded(world)
    servable = world.catalog.servable(Selection())
    answer = await servable.classify(pixels("red"), 1, 0.0, quality=Quality.FLIP)
    world.shadows.offer(servable, pixels("red"), Quality.FLIP, answer)
    async with world.shadows.at_work():
        await world.classify("red")
        await settled(world)
    assert outcomes(world) == {"agrees": 1}


async def test_while_all_lanes_compute_copies_wait_and_then_are_dropped(world: World) -> None:
    await loaded(world)
    answers = [await world.catalog.servable(Selection()).classify(pixels("red"), 1, 0.0)]
    servable = world.catalog.servable(Selection())
    async with world.shadows.at_work():
        with busy_lane(world) as lane:
            for _ in range(20):
                world.shadows.offer(servable, pixels("red"), Quality.ONCE, answers[0])
                await asyncio.sleep(0)
            # Four wait in the queue, and one has left it to wait for a lane.
            assert drops(world) == {"queue_full": 15}
            assert outcomes(world) == {}
            lane.give_back(0.0)
            await settled(world)
    assert outcomes(world) == {"agrees": 5}


async def test_a_copy_that_computes_holds_up_nobody(world: World) -> None:
    await loaded(world)
    release = threading.Event()
    async with world.shadows.at_work():
        blocked = world.shadows._thread.submit(release.wait, WAIT_S)
        try:
            await world.classify("red")
            for _ in range(20):  # both versions answer, and nothing is refused
                servable = world.catalog.servable(Selection())
                assert await servable.classify(
                    pixels("red"), 1, 0.0, deadline=asyncio.get_running_loop().time() + WAIT_S
                )
                assert (await world.classify(version="2"))[0] == 2
            freed = asyncio.Event()
            if not world.lanes.join(freed.set).finds_free():  # the last batch gives its lane back
                await asyncio.wait_for(freed.wait(), WAIT_S)  # and a copy has none
            assert outcomes(world) == {}
        finally:
            release.set()
        await settled(world)
        assert blocked.result(WAIT_S)
    assert outcomes(world) == {"agrees": 1}


async def test_nothing_is_learned_from_a_copy(world: World) -> None:
    await loaded(world)
    servable = world.entry(2).servable
    assert servable is not None
    factor = servable.engine.cost.factor
    async with world.shadows.at_work():
        await world.classify("red")
        await settled(world)
    assert servable.engine.cost.factor == factor
    samples = [
        sample
        for metric in world.metrics.registry.collect()
        for sample in metric.samples
        if sample.labels.get("version") == "2" and sample.value and "shadow" not in sample.name
    ]
    counting = ("_best_score_count", "_batch_size_count", "_decode_seconds_count")
    assert not [sample for sample in samples if sample.name.endswith(counting)]


async def test_another_input_is_decoded_anew_where_the_image_is_there(world: World) -> None:
    await loaded(world)
    manifest = world.entry(1).manifest
    assert manifest is not None
    spec = manifest.input.model_copy(update={"crop_fraction": 0.5})
    write_tiny_artifact(world.root, version=3, input=spec)
    world.policy = VersionPolicy(latest=3)
    await world.follower.look()
    world.control.set_shadow(TINY_NAME, 3, 1.0)
    servable = world.catalog.servable(Selection(version="1"))
    answer = await servable.classify(pixels("red"), 1, 0.0)
    of_a_front = PreparedPixels(coloured("red"), None, 1, 0.0)
    async with world.shadows.at_work():
        for source in (of_a_front, EncodedImage(b"damaged", "image"), pixels("red")):
            world.shadows.offer(servable, source, Quality.ONCE, answer)
        await settled(world)
    assert outcomes(world) == {"failed": 1, "agrees": 1}
    assert drops(world) == {"other_input": 1}


async def test_the_pixels_of_a_front_are_copied(world: World) -> None:
    await loaded(world)
    servable = world.catalog.servable(Selection())
    slot = coloured("red")
    answer = await servable.classify(PreparedPixels(slot, None, 1, 0.0), 1, 0.0)
    world.shadows.offer(servable, PreparedPixels(slot, None, 1, 0.0), Quality.ONCE, answer)
    slot.copy_(coloured("blue"))  # the front has given it to another image
    async with world.shadows.at_work():
        await settled(world)
    assert outcomes(world) == {"agrees": 1}


async def test_a_version_that_leaves_takes_its_trial_with_it(world: World) -> None:
    await loaded(world)
    servable = world.catalog.servable(Selection())
    answer = await servable.classify(pixels("red"), 1, 0.0)
    with busy_lane(world) as lane:
        async with world.shadows.at_work():
            world.shadows.offer(servable, pixels("red"), Quality.ONCE, answer)
            await asyncio.sleep(0)
            await world.loader.unload(world.entry(2))
            assert world.catalog.route(TINY_NAME).shadow is None
            await settled(world)  # while no lane is free: it would hold the version's memory
            assert drops(world) == {"gone": 1}
            lane.give_back(0.0)
            assert (await world.classify())[0] == 1
    assert world.states() == {1: State.READY}


async def test_what_is_on_trial_and_what_it_is_compared_with_stay_loaded(world: World) -> None:
    await loaded(world)
    world.policy = VersionPolicy(latest=1)
    await world.follower.look()
    assert world.states() == {1: State.READY, 2: State.READY}
    assert (await world.classify())[0] == 1


async def test_who_may_have_copies(world: World) -> None:
    await loaded(world)
    with pytest.raises(NotFoundError, match="version is not loaded"):
        world.control.set_shadow(TINY_NAME, 7, 0.5)
    with pytest.raises(NotFoundError, match="names no model"):
        world.control.set_shadow("nobody", None, 0.0)
    assert world.catalog.route(TINY_NAME).shadow == Share(2, 1.0)
    world.control.set_shadow(TINY_NAME, None, 0.0)
    assert world.catalog.route(TINY_NAME).shadow is None
    world.policy = VersionPolicy(latest=1)
    await world.follower.look()
    with pytest.raises(PreconditionError, match="no other version"):
        world.control.set_shadow(TINY_NAME, 2, 0.5)
