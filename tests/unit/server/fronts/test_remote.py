"""A front's answers: while the engine has no time, nothing is decoded in vain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path

from google.rpc import code_pb2, status_pb2

from models.image_header import ImageLimits
from proto.classify.v1 import classify_pb2
from server.access.quotas import Limits, Quotas
from server.fronts.frames import Frame, Kind
from server.fronts.remote import DECODING, RemoteAnswers
from server.fronts.slots import Slots
from server.pipeline.decode import DecodePool
from server.rpc.answers import Served
from server.rpc.calls import Caller
from tests.artifacts import tiny_input
from tests.unit.models import images
from tests.unit.server.fronts.test_link import Engine, linked

PHOTO = images.encode(images.photo(16, 12), "PNG")
NO_TIME = status_pb2.Status(code=code_pb2.UNAVAILABLE).SerializeToString()


class Front:
    """Answers over a real link; the test plays the engine and moves the clock."""

    def __init__(self, link, engine: Engine, room: Path) -> None:
        self.engine = engine
        self.now = 100.0
        self.slots = Slots(room / "slots", 4, 3 * 64 * 64)
        self.decoder = DecodePool(1, 4, ImageLimits())
        self.answers = RemoteAnswers(
            link, self.slots, self.decoder, keeps_images=True, clock=lambda: self.now
        )
        self._quota = Quotas(Limits(), lambda: self.now).of("somebody", Limits())

    def ask(self) -> asyncio.Task[Served]:
        image = classify_pb2.Image(encoded=PHOTO)
        request = classify_pb2.ClassifyRequest(request_id="one", image=image, may_keep_image=True)
        caller = Caller("somebody", inf, self._quota)
        return asyncio.create_task(self.answers.serve("Classify", request, caller))

    async def reply(self, to: Kind, kind: Kind, *blobs: bytes) -> Frame:
        """Answer the next frame, which must be of a kind."""
        frame = await self.engine.next(to)
        self.engine.protocol.send(Frame(kind, frame.call, blobs))
        return frame

    async def refused(self, at: Kind) -> None:
        """One request, which the engine refuses when it is asked so."""
        asked = self.ask()
        await self.reply(at, Kind.STATUS, NO_TIME)
        assert (await asked).outcome.code == code_pb2.UNAVAILABLE

    async def answered(self) -> None:
        """One request, once its image has come."""
        asked = self.ask()
        await self.reply(Kind.CLASSIFY, Kind.ANSWER, answer())
        assert isinstance((await asked).outcome, classify_pb2.ClassifyResponse)


def answer() -> bytes:
    return classify_pb2.ClassifyResponse(request_id="one").SerializeToString()


@asynccontextmanager
async def front(room: Path) -> AsyncIterator[Front]:
    async with linked(room / "engine") as (link, engine, _):
        front = Front(link, engine, room)
        first = front.ask()
        await front.reply(Kind.SPEC, Kind.SPEC, tiny_input().model_dump_json().encode())
        await front.reply(Kind.CLASSIFY, Kind.ANSWER, answer())
        await first
        yield front
        front.decoder.close()


async def test_in_peace_the_image_is_sent_at_once(tmp_path: Path) -> None:
    async with front(tmp_path) as one:
        await one.answered()


async def test_after_a_refusal_the_engine_is_asked_before_anything_is_decoded(
    tmp_path: Path,
) -> None:
    async with front(tmp_path) as one:
        await one.refused(at=Kind.CLASSIFY)
        await one.refused(at=Kind.ADMIT)
        asked = one.ask()
        admit = await one.reply(Kind.ADMIT, Kind.ANSWER)
        assert DECODING.unpack(admit.blobs[3])[0] == 0
        assert PHOTO not in admit.blobs[2]
        await one.reply(Kind.CLASSIFY, Kind.ANSWER, answer())
        assert isinstance((await asked).outcome, classify_pb2.ClassifyResponse)
        assert one.slots.free == 4


async def test_a_second_without_refusals_ends_it(tmp_path: Path) -> None:
    async with front(tmp_path) as one:
        await one.refused(at=Kind.CLASSIFY)
        one.now += 0.6
        await one.refused(at=Kind.ADMIT)
        one.now += 0.6
        await one.refused(at=Kind.ADMIT)
        one.now += 1.1
        await one.answered()


async def test_however_many_ways_a_model_is_named_what_is_known_stays_bounded(
    tmp_path: Path,
) -> None:
    async with front(tmp_path) as one:
        spec = tiny_input().model_dump_json().encode()
        for number in range(2500):
            one.answers._learn(str(number).encode(), spec)
        assert len(one.answers._models) <= 1000
