"""Mixed traffic with a ledger: unary, batch and stream, bad images, cancels and short deadlines."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from math import inf

import grpc

from proto.classify.v1 import classify_pb2, classify_pb2_grpc
from tests.load.ledger import Ledger, Photo
from tests.load.photos import Photos

Stub = classify_pb2_grpc.ClassifyServiceStub
Request = classify_pb2.ClassifyRequest

_BATCH = 4
_TIMEOUT_S = 60
_LONGEST_STAY_S = 0.01  # of a caller that leaves
_PAUSE_S = 0.25  # of a caller whose request a fault took
_OPTIONS = [
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]


@dataclass(frozen=True)
class Session:
    """What happens beside the traffic sees of it."""

    ledger: Ledger
    channels: Sequence[grpc.aio.Channel]


Meanwhile = Callable[[Session], Awaitable[None]]


@dataclass(frozen=True)
class Mix:
    """Shares: the first three of the photos, the others of the calls."""

    bad: float = 0.10
    poison: float = 0.0
    slow: float = 0.0
    cancelled: float = 0.05
    hurried: float = 0.02


class Traffic:
    """Callers in a closed loop, over several connections.

    Args:
        photos: What is sent.
        mix: Of what.
        seed: Of the choice.
        rate: Most requests a second.
    """

    def __init__(self, photos: Photos, mix: Mix, seed: int, rate: float = inf) -> None:
        self.ledger = Ledger()
        self._photos = photos
        self._mix = mix
        self._chance = random.Random(seed)
        self._numbers = count(1)
        self.rate = rate
        self._due = 0.0

    async def run(
        self,
        address: str,
        requests: int,
        *,
        callers: int = 16,
        connections: int = 2,
        meanwhile: Meanwhile | None = None,
    ) -> None:
        """Send about so many requests, and on until ``meanwhile`` has returned; await answers.

        Those that a fault took do not count.
        """
        until = self.ledger.answered + requests
        channels = [grpc.aio.insecure_channel(address, _OPTIONS) for _ in range(connections)]
        async with asyncio.TaskGroup() as tasks:
            other = tasks.create_task(_either(meanwhile, Session(self.ledger, channels)))
            loops = [
                tasks.create_task(
                    self._call_until(until, other, Stub(channels[turn % connections]))
                )
                for turn in range(callers)
            ]
            await asyncio.wait(loops)
        for channel in channels:
            await channel.close()
        self.ledger.close()

    async def _call_until(self, until: int, other: asyncio.Task[None], stub: Stub) -> None:
        while self.ledger.answered < until or not other.done():
            kind = self._chance.choice((self._unary, self._unary, self._batch, self._stream))
            await self._wait_for_turn()
            await kind(stub)

    async def _wait_for_turn(self) -> None:
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now - 1.0)  # what was missed is not made up for
        await asyncio.sleep(self._due - now)

    def _request(self) -> Request:
        photo = self._photo()
        request_id = f"id-{next(self._numbers)}"
        self._due += 1 / self.rate
        self.ledger.send(request_id, photo)
        image = classify_pb2.Image(encoded=photo.data)
        return Request(request_id=request_id, image=image, may_keep_image=True)

    def _photo(self) -> Photo:
        drawn = self._chance.random()
        for share, kind in (
            (self._mix.bad, self._photos.bad),
            (self._mix.poison, self._photos.poison),
            (self._mix.slow, self._photos.slow),
        ):
            if drawn < share:
                return self._chance.choice(kind)
            drawn -= share
        return self._chance.choice(self._photos.good)

    async def _unary(self, stub: Stub) -> None:
        request = self._request()

        async def call(timeout_s: float, leave: _Leave) -> None:
            answer = await leave.later(stub.Classify(request, timeout=timeout_s))
            self.ledger.answer(request.request_id, "OK", _scores(answer))

        await self._settled([request], call)

    async def _batch(self, stub: Stub) -> None:
        batch = [self._request() for _ in range(_BATCH)]
        message = classify_pb2.ClassifyBatchRequest(requests=batch)

        async def call(timeout_s: float, leave: _Leave) -> None:
            answer = await leave.later(stub.ClassifyBatch(message, timeout=timeout_s))
            names = [result.request_id for result in answer.results]
            assert names == [request.request_id for request in batch]
            for result in answer.results:
                self._answer(result, given_up=leave.hurried)

        await self._settled(batch, call)

    async def _stream(self, stub: Stub) -> None:
        items = [self._request() for _ in range(_BATCH)]
        messages = [classify_pb2.ClassifyStreamRequest(request=item) for item in items]

        async def call(timeout_s: float, leave: _Leave) -> None:
            stream = leave.later(stub.ClassifyStream(iter(messages), timeout=timeout_s))
            async for message in stream:
                self._answer(message.result, given_up=leave.hurried)
            left = [item.request_id for item in items if item.request_id in self.ledger.open]
            assert not left, f"a stream ended well without answers to {left}"

        await self._settled(items, call)

    async def _settled(
        self, requests: list[Request], call: Callable[[float, "_Leave"], Awaitable[None]]
    ) -> None:
        """Make the call; what it leaves open ends as it does."""
        hurried = self._chance.random() < self._mix.hurried
        leaves = self._chance.random() < self._mix.cancelled
        leave = _Leave(self._chance.random() * _LONGEST_STAY_S if leaves else None, hurried)
        try:
            await call(0.001 if hurried else _TIMEOUT_S, leave)
        except grpc.aio.AioRpcError as error:
            self._end(requests, _code(error), given_up=hurried or leaves)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Not us: grpc.aio cancels a stream itself that breaks, or is too late, while it sends.
            self._end(requests, "CANCELLED", given_up=hurried or leaves)
        finally:
            leave.end()
        if any(self.ledger.ends[request.request_id] == "LOST" for request in requests):
            await asyncio.sleep(_PAUSE_S)

    def _end(self, requests: list[Request], code: str, *, given_up: bool) -> None:
        for request in requests:
            if request.request_id in self.ledger.open:
                self.ledger.answer(request.request_id, code, given_up=given_up)

    def _answer(self, result: classify_pb2.ClassifyResult, *, given_up: bool) -> None:
        if result.HasField("error"):
            code = _NAMES[result.error.code]
            self.ledger.answer(result.request_id, code, given_up=given_up)
        else:
            self.ledger.answer(result.request_id, "OK", _scores(result.response))


class _Leave:
    """A caller that may leave its call before the answer."""

    def __init__(self, after_s: float | None, hurried: bool) -> None:
        self.hurried = hurried
        self._after_s = after_s
        self._timer: asyncio.TimerHandle | None = None

    def later(self, call: "grpc.aio.Call") -> "grpc.aio.Call":
        """Cancel the call in a moment, if so it is."""
        if self._after_s is not None:
            self._timer = asyncio.get_running_loop().call_later(self._after_s, call.cancel)
        return call

    def end(self) -> None:
        """There is nothing left to leave."""
        if self._timer is not None:
            self._timer.cancel()


_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


def _scores(answer: classify_pb2.ClassifyResponse) -> dict[str, float]:
    return {prediction.id: prediction.score for prediction in answer.predictions}


def _code(error: grpc.aio.AioRpcError) -> str:
    # grpc.aio's word, in the client, for a call that ended while it was sending.
    if error.code() is grpc.StatusCode.INTERNAL and "error from Core" in (error.details() or ""):
        return "UNAVAILABLE"
    return error.code().name


async def _either(meanwhile: Meanwhile | None, session: Session) -> None:
    if meanwhile is not None:
        await meanwhile(session)
