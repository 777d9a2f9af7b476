"""How long calls and connections may last, and how a server takes its leave."""

import signal
import time
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from client import Client
from proto.classify.v1 import classify_pb2, classify_pb2_grpc
from tests.artifacts import publish_tiny_artifact
from tests.integration.conftest import run_server
from tests.integration.http2 import Http2, connected, goes_away
from tests.unit.models import images

States = health_pb2.HealthCheckResponse


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    root: Path = tmp_path_factory.mktemp("models")
    publish_tiny_artifact(root)
    return str(root)


@pytest.fixture(scope="module")
def photo() -> bytes:
    return images.encode(images.Image.new("RGB", (40, 30), (20, 20, 220)), "PNG")


def test_a_request_without_a_deadline_gets_the_servers(repository: str) -> None:
    # Large, so that decoding it takes longer than that.
    photo = images.encode(images.photo(3000, 2000), "PNG")
    request = classify_pb2.ClassifyRequest(image=classify_pb2.Image(encoded=photo))
    batch = classify_pb2.ClassifyBatchRequest(requests=[request])
    flags = ("--repository", repository, "--default-deadline-s", "0.005", "--lame-duck-s", "0")
    with run_server(*flags) as server, grpc.insecure_channel(server.grpc) as channel:
        stub = classify_pb2_grpc.ClassifyServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Classify(request)
        for status in (
            rpc_status.from_call(refused.value),
            *(result.error for result in stub.ClassifyBatch(batch).results),
        ):
            assert status.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
            info = error_details_pb2.ErrorInfo()
            assert any(detail.Unpack(info) for detail in status.details)
            assert info.reason == "DEADLINE_EXPIRED"
        assert stub.Classify(request, timeout=60).predictions  # its own deadline goes before


def test_an_old_connection_is_renewed_without_a_failed_call(repository: str, photo: bytes) -> None:
    flags = ("--repository", repository, "--max-connection-age-s", "0.5", "--lame-duck-s", "0")
    request = classify_pb2.ClassifyRequest(image=classify_pb2.Image(encoded=photo))
    with run_server(*flags) as server:
        # A call may meet a connection that is being left; what never went out gRPC sends again
        # by itself (gRFC A6, transparent retries), and nothing else without a retry policy.
        with grpc.insecure_channel(server.grpc) as channel:
            stub = classify_pb2_grpc.ClassifyServiceStub(channel)
            until = time.monotonic() + 3
            while time.monotonic() < until:
                stub.Classify(request, timeout=30)
        with connected(server.grpc) as connection:
            Http2(connection)
            assert goes_away(connection) == 0  # NO_ERROR


def test_it_serves_on_while_load_balancers_notice(repository: str, photo: bytes) -> None:
    flags = ("--repository", repository, "--shutdown-delay-s", "3", "--lame-duck-s", "0")
    with (
        run_server(*flags) as server,
        grpc.insecure_channel(server.grpc) as channel,
        Client(server.grpc) as client,
    ):
        client.classify(photo)  # connected: what is left to do is quick
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=60
        )
        assert next(watch).status == States.SERVING
        server.process.send_signal(signal.SIGTERM)
        assert next(watch).status == States.NOT_SERVING
        assert client.classify(photo).predictions[0].id == "blue"
        assert server.process.wait(timeout=60) == 0
