"""A front's answers and the engine's port, with a real catalog between them."""

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from math import inf

import pytest
from google.rpc import code_pb2, status_pb2

from models.image_header import ImageLimits
from proto.classify.v1 import classify_pb2
from server.access.quotas import Limits, Quota
from server.catalog.policy import VersionPolicy
from server.fronts.forward import forwarding
from server.fronts.frames import Frame, Kind
from server.fronts.link import EngineLink
from server.fronts.port import FrontPort
from server.fronts.remote import RemoteAnswers
from server.fronts.slots import Slots
from server.pipeline.decode import DecodePool
from server.rpc.calls import Caller, Handlers
from tests.artifacts import TINY_NAME, coloured, publish_tiny_artifact, tiny_input
from tests.unit.server.catalog.conftest import World, a_caller, answers_of, world, world_of

__all__ = ["world", "world_of"]  # fixtures


def red() -> classify_pb2.ClassifyRequest:
    """Larger than any of the models' inputs."""
    data = coloured("red", 40).permute(1, 2, 0).contiguous().numpy().tobytes()
    raw = classify_pb2.RawImage(height=40, width=40, data=data)
    return classify_pb2.ClassifyRequest(image=classify_pb2.Image(raw=raw))


@asynccontextmanager
async def front_of(world: World, tmp_path, *, cache_bytes: int = 0):
    """A front's answers, computed by the world's catalog."""
    port = FrontPort(world.catalog, answers_of(world, cache_bytes), forwarding(Handlers()))
    await port.listen(tmp_path / "engine")
    slots = Slots(tmp_path / "slots", 4, 3 * 64 * 64)
    decoder = DecodePool(1, 16, ImageLimits())
    serving = asyncio.Event()
    hello = Frame(Kind.HELLO, 0, (str(slots.path).encode(), str(slots.size).encode()))
    link = EngineLink(tmp_path / "engine", hello, lambda _: serving.set())
    running = asyncio.create_task(link.run())
    try:
        await asyncio.wait_for(serving.wait(), 60)
        yield RemoteAnswers(link, slots, decoder, asks_first=cache_bytes > 0)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await port.close()
        decoder.close()


async def answered_by(front: RemoteAnswers, requests: int) -> Counter[str]:
    met = Counter[str]()
    for _ in range(requests):
        served = await front.serve("Classify", red(), a_caller())
        assert isinstance(served.outcome, classify_pb2.ClassifyResponse), served.outcome
        met[served.outcome.model_version] += 1
    return met


async def test_a_canary_gets_its_share_whatever_its_input(world: World, tmp_path) -> None:
    """To ask for an input takes no turn, nor does an image that has to be decoded anew."""
    publish_tiny_artifact(world.root)
    publish_tiny_artifact(world.root)
    publish_tiny_artifact(world.root, side=32)
    world.policy = VersionPolicy(latest=3)
    await world.follower.look()
    async with front_of(world, tmp_path) as front:
        for canary in (2, 3):
            world.control.set_canary(TINY_NAME, canary, 0.5)
            met = await answered_by(front, 40)
            assert abs(met[str(canary)] - 20) <= 1
            assert met.total() == 40
    (counted,) = (
        each for each in world.metrics.registry.collect() if each.name == "menagerie_requests"
    )
    totals = Counter[str]()
    for each in counted.samples:
        if each.name.endswith("_total") and each.value:
            totals[each.labels["code"]] += int(each.value)
    assert totals == {"OK": 80}  # an image that has to come again is one request


async def test_a_version_that_cuts_photos_otherwise_gets_its_own_pixels(
    world: World, tmp_path
) -> None:
    """Of the same size: nothing else would show that they are another's."""
    publish_tiny_artifact(world.root)
    request = red()
    pixels = coloured("red", 40)
    pixels[:, 8:32, 8:32] = coloured("blue", 24)
    request.image.raw.data = pixels.permute(1, 2, 0).contiguous().numpy().tobytes()
    found = []
    async with front_of(world, tmp_path) as front:
        for _ in range(2):
            await world.follower.look()
            copy = classify_pb2.ClassifyRequest.FromString(request.SerializeToString())
            served = await front.serve("Classify", copy, a_caller())
            found.append(served.outcome.predictions[0].id)
            spec = tiny_input().model_copy(update={"crop_fraction": 0.5})
            publish_tiny_artifact(world.root, input=spec)
    assert found == ["red", "blue"]


async def test_what_the_engine_knows_is_not_decoded(world: World, tmp_path) -> None:
    publish_tiny_artifact(world.root)
    await world.follower.look()
    async with front_of(world, tmp_path, cache_bytes=2**20) as front:
        first, second = [await front.serve("Classify", red(), a_caller()) for _ in range(2)]
        front._decoder.close()
        third = await front.serve("Classify", red(), a_caller())
    assert not first.outcome.from_cache
    assert second.outcome.from_cache
    assert third.outcome.from_cache
    assert third.outcome.predictions == first.outcome.predictions


async def test_an_image_that_has_to_come_again_counts_once(world: World, tmp_path) -> None:
    publish_tiny_artifact(world.root)
    await world.follower.look()
    limits = Limits(rate_per_s=1e-6)  # one
    caller = Caller("ann", inf, Quota("ann", limits, time.monotonic))
    async with front_of(world, tmp_path, cache_bytes=2**20) as front:
        first, known = [await front.serve("Classify", red(), caller) for _ in range(2)]
    assert isinstance(first.outcome, classify_pb2.ClassifyResponse), first.outcome
    assert isinstance(known.outcome, status_pb2.Status)  # what is known counts, too
    assert known.outcome.code == code_pb2.RESOURCE_EXHAUSTED


async def test_a_version_that_leaves_while_an_image_is_decoded_loses_no_request(
    world: World, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_tiny_artifact(world.root)
    await world.follower.look()
    async with front_of(world, tmp_path, cache_bytes=2**20) as front:
        decode = front._decoder.decode

        async def decode_slowly(*arguments: object) -> object:
            publish_tiny_artifact(world.root)
            await world.follower.look()
            return await decode(*arguments)

        monkeypatch.setattr(front._decoder, "decode", decode_slowly)
        served = await front.serve("Classify", red(), a_caller())
    assert served.outcome.model_version == "2", served.outcome
