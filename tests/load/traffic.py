"""Mixed traffic with a ledger: unary, batch and stream, bad images, cancels and short deadlines.

Every request has an id of its own. The ledger knows what became of each; one that is answered
twice, or wrongly, ends the run.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import grpc

from proto.classify.v1 import classify_pb2, classify_pb2_grpc
from tests.artifacts import TINY_LABELS
from tests.unit.models import images

_BAD, _CANCELLED, _HURRIED = 0.10, 0.05, 0.02  # shares of the requests
_BATCH = 4
_TIMEOUT_S = 60
_COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}
_BAD_IMAGES = (b"?", images.HTML, images.jpeg_claiming(20_000, 20_000), images.with_damaged_idat())


@dataclass
class Ledger:
    """What became of each request.

    Attributes:
        outcomes: By code; GIVEN_UP for what the client cancelled or gave no time.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    _open: dict[str, str] = field(default_factory=dict)

    def send(self, request_id: str, expected: str) -> None:
        assert request_id not in self._open, f"{request_id} is sent twice"
        self._open[request_id] = expected

    def answer(self, request_id: str, code: str, best: str = "") -> None:
        expected = self._open.pop(request_id, None)
        assert expected is not None, f"{request_id} is answered twice, or was never sent"
        wanted = "INVALID_ARGUMENT" if expected == "bad" else "OK"
        assert code in (wanted, "GIVEN_UP"), f"{request_id}: {code} instead of {wanted}"
        assert code != "OK" or best == expected, f"{request_id}: {best} instead of {expected}"
        self.outcomes[code] += 1

    def close(self) -> None:
        """Raises AssertionError if a request has no answer."""
        assert not self._open, f"{len(self._open)} requests have no answer"


class Traffic:
    """Callers in a closed loop over one channel.

    Args:
        address: The server's.
        seed: Of what is sent.
    """

    def __init__(self, address: str, seed: int) -> None:
        self.ledger = Ledger()
        self._address = address
        self._chance = random.Random(seed)
        self._number = 0
        self._photos = {
            label: images.encode(images.Image.new("RGB", (40, 30), _COLOURS[label]), image_format)
            for label, image_format in zip(TINY_LABELS, ("PNG", "JPEG", "WEBP"), strict=True)
        }

    async def run(self, requests: int, callers: int = 16) -> None:
        """Send about so many requests and wait for all answers."""
        until = self._number + requests
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self._address, options) as channel:
            stub = classify_pb2_grpc.ClassifyServiceStub(channel)
            async with asyncio.TaskGroup() as tasks:
                for _ in range(callers):
                    tasks.create_task(self._call_until(until, stub))
        self.ledger.close()

    async def _call_until(self, until: int, stub: classify_pb2_grpc.ClassifyServiceStub) -> None:
        while self._number < until:
            await self._chance.choice((self._unary, self._unary, self._batch, self._stream))(stub)

    def _request(self) -> classify_pb2.ClassifyRequest:
        self._number += 1
        request_id = f"id-{self._number}"
        if self._chance.random() < _BAD:
            expected, photo = "bad", self._chance.choice(_BAD_IMAGES)
        else:
            expected = self._chance.choice(TINY_LABELS)
            photo = self._photos[expected]
        self.ledger.send(request_id, expected)
        return classify_pb2.ClassifyRequest(
            request_id=request_id, image=classify_pb2.Image(encoded=photo)
        )

    async def _unary(self, stub: classify_pb2_grpc.ClassifyServiceStub) -> None:
        request = self._request()
        hurried = self._chance.random() < _HURRIED
        call = stub.Classify(request, timeout=0.001 if hurried else _TIMEOUT_S)
        left = self._chance.random() < _CANCELLED
        if left:
            await asyncio.sleep(self._chance.random() * 0.01)
            call.cancel()
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            self._failed(request.request_id, error.code().name, given_up=hurried or left)
        except asyncio.CancelledError:
            if not left:
                raise
            self.ledger.answer(request.request_id, "GIVEN_UP")
        else:
            self.ledger.answer(request.request_id, "OK", answer.predictions[0].id)

    def _failed(self, request_id: str, code: str, *, given_up: bool) -> None:
        # UNAVAILABLE: the server saw that the deadline cannot be met.
        late = code in ("CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE")
        self.ledger.answer(request_id, "GIVEN_UP" if given_up and late else code)

    async def _batch(self, stub: classify_pb2_grpc.ClassifyServiceStub) -> None:
        batch = [self._request() for _ in range(_BATCH)]
        message = classify_pb2.ClassifyBatchRequest(requests=batch)
        answer = await stub.ClassifyBatch(message, timeout=_TIMEOUT_S)
        assert [result.request_id for result in answer.results] == [
            request.request_id for request in batch
        ]
        for result in answer.results:
            self._settle(result)

    async def _stream(self, stub: classify_pb2_grpc.ClassifyServiceStub) -> None:
        items = [classify_pb2.ClassifyStreamRequest(request=self._request()) for _ in range(_BATCH)]
        async for message in stub.ClassifyStream(iter(items), timeout=_TIMEOUT_S):
            self._settle(message.result)

    def _settle(self, result: classify_pb2.ClassifyResult) -> None:
        if result.HasField("error"):
            code = grpc.StatusCode.INVALID_ARGUMENT
            name = code.name if result.error.code == code.value[0] else f"code {result.error.code}"
            self.ledger.answer(result.request_id, name)
        else:
            self.ledger.answer(result.request_id, "OK", result.response.predictions[0].id)
