"""The decode pool: order, limits, cancellation; real images, and sources that the test releases."""

import asyncio
import gc
import threading
import weakref
from contextlib import contextmanager

import pytest
import torch

from models.errors import CorruptImageError
from models.image_header import ImageLimits
from models.manifest import InputSpec
from server.errors import InvalidRequestError, QueueFullError
from server.pipeline.decode import DecodePool, EncodedImage, MeasuredImage, RawPixels, measuring
from server.pipeline.thinning import Thinning
from tests.unit.models import images

SPEC = InputSpec(height=8, width=8, mean=(0, 0, 0), std=(1, 1, 1))


class Gated:
    """A source that decodes when the test says so."""

    field = "image"

    def __init__(self):
        self.begun = threading.Event()
        self.gate = threading.Event()

    def prepare(self, _spec, _limits):
        self.begun.set()
        assert self.gate.wait(timeout=10)
        return torch.zeros(3, 8, 8, dtype=torch.uint8)


@contextmanager
def pool(workers=1, queue_limit=8):
    made = DecodePool(workers, queue_limit, ImageLimits())
    try:
        yield made
    finally:
        made.close()


async def begun(source):
    assert await asyncio.to_thread(source.begun.wait, 10)


async def test_an_image_becomes_the_models_input():
    with pool() as decoder:
        encoded = EncodedImage(images.encode(images.photo(), "JPEG"), "image")
        assert (await decoder.decode(encoded, SPEC)).shape == (3, 8, 8)
        raw = await decoder.decode(RawPixels(bytes(300), 10, 10, "image"), SPEC)
        assert torch.equal(raw, torch.zeros(3, 8, 8, dtype=torch.uint8))


async def test_a_refused_image_names_its_field():
    with pool() as decoder:
        with pytest.raises(InvalidRequestError, match=r"images\[3\]") as refused:
            await decoder.decode(EncodedImage(b"\xff\xd8", "images[3]"), SPEC)
        assert isinstance(refused.value.__cause__, CorruptImageError)
        assert decoder.depth == 0


async def test_workers_decode_at_the_same_time():
    with pool(workers=2) as decoder:
        sources = [Gated(), Gated()]
        jobs = [asyncio.create_task(decoder.decode(source, SPEC)) for source in sources]
        for source in sources:
            await begun(source)  # neither was released
        for source in sources:
            source.gate.set()
        await asyncio.gather(*jobs)


async def test_too_many_waiting_images_are_refused():
    with pool(workers=1, queue_limit=1) as decoder:
        sources = [Gated(), Gated()]
        jobs = [asyncio.create_task(decoder.decode(source, SPEC)) for source in sources]
        await begun(sources[0])
        with pytest.raises(QueueFullError):
            await decoder.decode(Gated(), SPEC)
        for source in sources:
            source.gate.set()
        await asyncio.gather(*jobs)
        assert decoder.depth == 0


async def test_what_is_cancelled_while_it_waits_is_never_decoded_and_frees_its_memory():
    with pool(workers=1) as decoder:
        running, cancelled, last = Gated(), Gated(), Gated()
        jobs = [
            asyncio.create_task(decoder.decode(source, SPEC))
            for source in (running, cancelled, last)
        ]
        await begun(running)
        begins, still_there = cancelled.begun, weakref.ref(cancelled)
        jobs[1].cancel()
        await asyncio.wait([jobs[1]])
        assert decoder.depth == 2
        del jobs[1], cancelled
        gc.collect()
        assert still_there() is None  # although the only worker is still busy
        running.gate.set()
        last.gate.set()
        await asyncio.gather(*jobs)
        assert not begins.is_set()


async def test_what_is_cancelled_while_it_is_decoded_does_no_harm():
    with pool(workers=1) as decoder:
        running, after = Gated(), Gated()
        job = asyncio.create_task(decoder.decode(running, SPEC))
        await begun(running)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        following = asyncio.create_task(decoder.decode(after, SPEC))
        running.gate.set()
        after.gate.set()
        assert (await following).shape == (3, 8, 8)


async def test_each_of_many_images_gets_its_own_pixels():
    with pool(workers=2, queue_limit=400) as decoder:
        greys = [number % 251 for number in range(400)]
        results = await asyncio.gather(
            *(decoder.decode(RawPixels(bytes([grey]) * 192, 8, 8, "image"), SPEC) for grey in greys)
        )
        assert [int(image.float().mean()) for image in results] == greys
        assert decoder.depth == 0


async def test_a_refused_image_does_not_hold_up_those_beside_it():
    with pool(workers=1) as decoder:
        good = RawPixels(bytes(192), 8, 8, "image")
        sources = [good, EncodedImage(b"", "image"), good]
        jobs = [decoder.decode(source, SPEC) for source in sources]
        first, refused, last = await asyncio.gather(*jobs, return_exceptions=True)
        assert isinstance(refused, InvalidRequestError)
        assert torch.equal(first, last)


async def test_of_many_images_some_are_measured():
    never = Thinning(per_s=1.0, burst=1.0, clock=lambda: 0.0)
    decoder = DecodePool(1, 8, ImageLimits())
    measured = [MeasuredImage(RawPixels(bytes(300), 10, 10, "image"), never) for _ in range(2)]
    try:
        for source in measured:
            assert (await decoder.decode(source, SPEC)).shape == (3, 8, 8)
    finally:
        decoder.close()
    first, second = (source.statistics for source in measured)
    assert first is not None
    assert first.brightness == 0.0
    assert second is None  # and its answer is no worse for it


async def test_a_busy_version_leaves_another_its_share():
    decoder = DecodePool(1, 8, ImageLimits())
    spent = Thinning(per_s=1.0, burst=1.0, clock=lambda: 0.0)
    assert spent.takes_one()
    busy, quiet = (
        MeasuredImage(RawPixels(bytes(300), 10, 10, "image"), measured)
        for measured in (spent, measuring())
    )
    try:
        await asyncio.gather(decoder.decode(busy, SPEC), decoder.decode(quiet, SPEC))
    finally:
        decoder.close()
    assert busy.statistics is None
    assert quiet.statistics is not None
