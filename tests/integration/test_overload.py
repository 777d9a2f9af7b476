"""More calls than the server can answer in time, against a real server."""

import asyncio
import urllib.request
from collections import Counter
from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from proto.classify.v1 import classify_pb2, classify_pb2_grpc
from tests.integration.conftest import Server, run_server

CALLS = 400
TIMEOUT_S = 2.0


@pytest.fixture(scope="module")
def strict_server() -> Iterator[Server]:
    with run_server("--slo-p99-ms", "400", "--queue-policies.bulk.limit", "8") as running:
        yield running


async def flood(address: str, photo: bytes, priority: int) -> Counter[str]:
    """What became of so many calls at once: each has one answer."""
    outcomes: Counter[str] = Counter()

    async def call(stub: classify_pb2_grpc.ClassifyServiceStub, number: int) -> None:
        request = classify_pb2.ClassifyRequest(
            image=classify_pb2.Image(encoded=photo), request_id=str(number), priority=priority
        )
        try:
            response = await stub.Classify(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            outcomes[error.code().name] += 1
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                check_advice(error)
        else:
            outcomes["OK"] += response.request_id == str(number)

    async with grpc.aio.insecure_channel(address) as channel:
        stub = classify_pb2_grpc.ClassifyServiceStub(channel)
        await asyncio.gather(*(call(stub, number) for number in range(CALLS)))
    return outcomes


def check_advice(error: grpc.aio.AioRpcError) -> None:
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(details)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.reason == "QUEUE_FULL"
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToTimedelta().total_seconds() > 0


@pytest.mark.parametrize("priority", [classify_pb2.PRIORITY_NORMAL, classify_pb2.PRIORITY_BULK])
def test_every_call_is_answered_once_and_what_is_refused_is_told_when_to_come_back(
    strict_server: Server, cat: bytes, priority: int
) -> None:
    outcomes = asyncio.run(flood(strict_server.grpc, cat, priority))
    assert outcomes.total() == CALLS
    assert outcomes["OK"] > 0
    assert outcomes["UNAVAILABLE"] > 0
    assert outcomes.keys() <= {"OK", "UNAVAILABLE", "DEADLINE_EXCEEDED"}
    with urllib.request.urlopen(f"http://{strict_server.metrics}/metrics", timeout=30) as page:
        metrics = page.read().decode()
    assert 'menagerie_dropped_total{model="cats-vs-dogs",reason=' in metrics
