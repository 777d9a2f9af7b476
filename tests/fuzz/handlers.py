"""The request handlers, through a real server: every call ends with a status of the catalogue."""

import asyncio
from collections import Counter

import grpc

from proto.classify.v1 import classify_pb2, common_pb2, model_pb2
from tests.fuzz.mutations import mutated
from tests.unit.models import images

_UNARY = {
    "/classify.v1.ClassifyService/Classify": classify_pb2.ClassifyRequest,
    "/classify.v1.ClassifyService/ClassifyBatch": classify_pb2.ClassifyBatchRequest,
    "/classify.v1.ClassifyService/Explain": classify_pb2.ExplainRequest,
    "/classify.v1.ModelService/ListModels": model_pb2.ListModelsRequest,
    "/classify.v1.ModelService/GetModel": model_pb2.GetModelRequest,
}
_STREAM = "/classify.v1.ClassifyService/ClassifyStream"
# INTERNAL, UNKNOWN and DATA_LOSS would be ours; CANCELLED and DEADLINE_EXCEEDED a lost call.
_FINDS = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "CANCELLED", "DEADLINE_EXCEEDED"}
_IN_FLIGHT = 32
_TIMEOUT_S = 60


def seeds() -> list[bytes]:
    """Valid messages of every kind. A message of one kind is damage to another."""
    photo = images.encode(images.photo(16, 12), "PNG")
    image = classify_pb2.Image(encoded=photo)
    spec = common_pb2.ModelSpec(name="tiny", version="1")
    request = classify_pb2.ClassifyRequest(
        request_id="fuzz", model=spec, image=image, top_k=3, min_score=0.1, priority=1
    )
    raw = classify_pb2.RawImage(height=2, width=3, data=bytes(18))
    messages = [
        request,
        classify_pb2.ClassifyRequest(image=classify_pb2.Image(raw=raw)),
        classify_pb2.ClassifyBatchRequest(requests=[request, request]),
        classify_pb2.ClassifyStreamRequest(request=request),
        model_pb2.GetModelRequest(model=spec),
        model_pb2.GetModelRequest(model=common_pb2.ModelSpec(version_label="latest")),
    ]
    return [message.SerializeToString() for message in messages]


async def fuzz_handlers(address: str, executions: int, seed: int) -> Counter[str]:
    """Send damaged messages to every method; returns how calls ended, by code.

    Raises:
        AssertionError: One ended as none may.
    """
    outcomes: Counter[str] = Counter()
    places = asyncio.Semaphore(_IN_FLIGHT)
    async with grpc.aio.insecure_channel(address, [("grpc.enable_retries", 0)]) as channel:
        calls = [channel.unary_unary(method) for method in _UNARY]
        stream = channel.stream_stream(_STREAM)

        async def send(number: int, data: bytes) -> None:
            turn = number % (len(calls) + 1)
            try:
                if turn < len(calls):
                    await calls[turn](data, timeout=_TIMEOUT_S)
                else:
                    answers = stream(iter([data, data]), timeout=_TIMEOUT_S)
                    assert len([answer async for answer in answers]) == 2, data
                code, details = "OK", ""
            except grpc.aio.AioRpcError as error:
                code, details = error.code().name, error.details()
            finally:
                places.release()
            assert code not in _FINDS, (turn, data, details)
            outcomes[code] += 1

        async with asyncio.TaskGroup() as tasks:
            for number, data in enumerate(mutated(seeds(), executions, seed)):
                await places.acquire()
                tasks.create_task(send(number, data))
    return outcomes
