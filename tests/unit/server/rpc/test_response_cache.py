"""Kept answers: for the same image, version and wishes, and for nothing else."""

import asyncio
from collections import Counter

import pytest

from proto.classify.v1 import classify_pb2, common_pb2
from server.catalog.policy import VersionPolicy
from server.catalog.servable import Servable
from server.pipeline.content import content_of
from server.pipeline.decode import EncodedImage, PreparedPixels, RawPixels
from server.rpc.answers import CatalogAnswers, Served
from tests.artifacts import TINY_SIDE, coloured, publish_tiny_artifact
from tests.unit.models import images
from tests.unit.server.catalog.conftest import World, a_caller, answers_of, world, world_of

__all__ = ["world", "world_of"]  # fixtures

ROOM = 2**20
WAIT_S = 60
Request = classify_pb2.ClassifyRequest


def of(colour: str = "red", **fields: object) -> Request:
    data = coloured(colour).permute(1, 2, 0).contiguous().numpy().tobytes()
    raw = classify_pb2.RawImage(height=TINY_SIDE, width=TINY_SIDE, data=data)
    return Request(image=classify_pb2.Image(raw=raw), **fields)


async def ask(answers: CatalogAnswers, request: Request) -> classify_pb2.ClassifyResponse:
    served: Served = await answers.serve("Classify", request, a_caller())
    assert isinstance(served.outcome, classify_pb2.ClassifyResponse), served.outcome
    return served.outcome


@pytest.fixture
async def loaded(world: World) -> World:
    world.policy = VersionPolicy(latest=2)
    for _ in range(2):
        publish_tiny_artifact(world.root)
    await world.follower.look()
    return world


async def test_the_same_again_is_known_and_says_so(loaded: World) -> None:
    answers = answers_of(loaded, ROOM)
    first = await ask(answers, of(request_id="first"))
    again = await ask(answers, of(request_id="again"))
    assert (first.from_cache, again.from_cache) == (False, True)
    assert (first.request_id, again.request_id) == ("first", "again")
    assert again.timings.batch_size == again.timings.engine_us == 0
    assert again.timings.total_us > 0
    for each in (first, again):
        for field in ("request_id", "timings", "from_cache"):
            each.ClearField(field)
    assert again == first
    told = {
        each.labels["outcome"]: each.value
        for metric in loaded.metrics.registry.collect()
        if metric.name == "menagerie_response_cache_requests"
        for each in metric.samples
        if each.name.endswith("_total")
    }
    assert told == {"miss": 1, "hit": 1}


async def test_without_room_nothing_is_known(loaded: World) -> None:
    answers = answers_of(loaded)
    assert not (await ask(answers, of())).from_cache
    assert not (await ask(answers, of())).from_cache


WISHES = [
    {"top_k": 1},
    {"min_score": 0.5},
    {"quality": classify_pb2.QUALITY_FLIP},
    {"explain": classify_pb2.ExplainOptions()},
    {"explain": classify_pb2.ExplainOptions(label_id="blue")},
    {"explain": classify_pb2.ExplainOptions(overlay=True)},
    {"explain": classify_pb2.ExplainOptions(method=classify_pb2.EXPLAIN_METHOD_GRAD_CAM_PLUS_PLUS)},
]


async def test_every_wish_has_an_answer_of_its_own(loaded: World) -> None:
    answers = answers_of(loaded, ROOM)
    plain = await ask(answers, of())
    for wish in WISHES:
        first, again = [await ask(answers, of(**wish)) for _ in range(2)]
        assert (first.from_cache, again.from_cache) == (False, True), wish
        assert again.explanation == first.explanation
        assert again.HasField("explanation") == ("explain" in wish)
        assert first.predictions[0].id == plain.predictions[0].id
    assert (await ask(answers, of(top_k=5))).from_cache  # what an unset one means


async def test_who_asks_and_how_urgently_changes_no_answer(loaded: World) -> None:
    answers = answers_of(loaded, ROOM)
    await ask(answers, of())
    urgent = of(priority=classify_pb2.PRIORITY_INTERACTIVE, routing_key="somebody")
    assert (await ask(answers, urgent)).from_cache


async def test_never_across_versions_nor_images(loaded: World) -> None:
    answers = answers_of(loaded, ROOM)
    for version in ("1", "2"):
        for colour in ("red", "green"):
            request = of(colour, model=common_pb2.ModelSpec(version=version))
            first, again = [await ask(answers, request) for _ in range(2)]
            assert (first.from_cache, again.from_cache) == (False, True)
            assert (again.model_version, again.predictions[0].id) == (version, colour)
            assert again.digest == loaded.entry(int(version)).digest


async def test_a_new_version_answers_anew(loaded: World) -> None:
    answers = answers_of(loaded, ROOM)
    assert (await ask(answers, of())).model_version == "2"
    publish_tiny_artifact(loaded.root)
    await loaded.follower.look()
    fresh = await ask(answers, of())
    assert (fresh.model_version, fresh.from_cache) == ("3", False)


async def test_failures_are_not_kept(loaded: World) -> None:
    answers = answers_of(loaded, ROOM)
    damaged = Request(image=classify_pb2.Image(encoded=b"damaged"))
    for _ in range(2):
        served = await answers.serve("Classify", damaged, a_caller())
        assert served.outcome.message.startswith("image.encoded ")
    wrong = await answers.serve("Classify", of(coverage=0.77), a_caller())
    assert wrong.outcome.message.startswith("coverage ")


async def test_one_computation_for_many_and_a_leader_may_leave(
    loaded: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its pixels lie in memory that a front gives away."""
    answers = answers_of(loaded, ROOM)
    computed, go_on, classify = Counter[str](), asyncio.Event(), Servable.classify

    async def slow(*arguments: object, **options: object) -> object:
        computed["images"] += 1
        await go_on.wait()
        return await classify(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Servable, "classify", slow)
    slot = coloured("red")
    request, leader_source = Request(), PreparedPixels(slot, None, 1, 0.0, content=b"x" * 32)
    leader = asyncio.create_task(answers.serve("Classify", request, a_caller(), leader_source))
    await asyncio.sleep(0)
    others = [
        asyncio.create_task(
            answers.serve(
                "Classify",
                Request(),
                a_caller(),
                PreparedPixels(slot.clone(), None, 1, 0.0, content=b"x" * 32),
            )
        )
        for _ in range(3)
    ]
    for _ in range(5):
        await asyncio.sleep(0)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    slot.copy_(coloured("blue"))
    go_on.set()
    served = await asyncio.wait_for(asyncio.gather(*others), WAIT_S)
    assert computed == {"images": 1}
    assert {each.outcome.predictions[0].id for each in served} == {"red"}
    assert all(each.outcome.from_cache for each in served)


async def test_a_followers_deadline_is_its_own(
    loaded: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = answers_of(loaded, ROOM)
    go_on, classify = asyncio.Event(), Servable.classify

    async def slow(*arguments: object, **options: object) -> object:
        await go_on.wait()
        return await classify(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Servable, "classify", slow)
    leader = asyncio.create_task(answers.serve("Classify", of(), a_caller()))
    await asyncio.sleep(0)
    soon = asyncio.get_running_loop().time() + 0.02
    late = await answers.serve("Classify", of(), a_caller(soon))
    assert "deadline passed" in late.outcome.message
    go_on.set()
    served = await asyncio.wait_for(leader, WAIT_S)
    assert not served.outcome.from_cache


async def test_contents_differ_wherever_images_do() -> None:
    photo = images.encode(images.photo(), "JPEG")
    sources = [
        EncodedImage(photo, "image.encoded"),
        EncodedImage(photo + b"\0", "image.encoded"),
        RawPixels(bytes(24), 2, 4, "image.raw"),
        RawPixels(bytes(24), 4, 2, "image.raw"),
        EncodedImage(bytes(24), "image.encoded"),
        EncodedImage(bytes(2**19), "image.encoded"),
        EncodedImage(bytes(2**19 + 1), "image.encoded"),
    ]
    contents = [await content_of(source) for source in sources]
    assert len(set(contents)) == len(sources)
    assert {len(content) for content in contents} == {32}
    assert await content_of(EncodedImage(photo, "elsewhere")) == contents[0]
    assert await content_of(PreparedPixels(None, None, 1, 0.0)) == b""
