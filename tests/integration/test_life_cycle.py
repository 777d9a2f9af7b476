"""Start, health, and a drain under load that loses nothing."""

import concurrent.futures
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from proto.classify.v1 import classify_pb2, classify_pb2_grpc, model_pb2, model_pb2_grpc
from tests.integration.conftest import PHOTOS, ROOT, VERSION, ZOO, Server, run_server

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("fronts", ["1", "2"])
def test_sigterm_under_load_loses_no_accepted_request(cat: bytes, fronts: str) -> None:
    request = classify_pb2.ClassifyRequest(image=classify_pb2.Image(encoded=cat))
    outcomes: list[grpc.StatusCode] = []
    stop, warm = threading.Event(), threading.Barrier(17)

    def closed_loop(address: str) -> None:
        with grpc.insecure_channel(address, [("grpc.enable_retries", 0)]) as channel:
            stub = classify_pb2_grpc.ClassifyServiceStub(channel)
            stub.Classify(request, timeout=30)
            warm.wait(timeout=60)
            while not stop.is_set():
                try:
                    stub.Classify(request, timeout=30)
                    outcomes.append(grpc.StatusCode.OK)
                except grpc.RpcError as error:
                    outcomes.append(error.code())
                    return

    with (
        run_server("--fronts", fronts) as server,
        concurrent.futures.ThreadPoolExecutor(16) as pool,
    ):
        loops = [pool.submit(closed_loop, server.grpc) for _ in range(16)]
        warm.wait(timeout=60)
        assert server.terminate() == 0
        stop.set()
        for loop in loops:
            loop.result(timeout=60)
        log = server.log.result(timeout=60)
    # Refused before it was accepted is UNAVAILABLE; anything else would be a loss.
    assert set(outcomes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    records = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    served = [record for record in records if record["message"] == "request"]
    assert {record["code"] for record in served} <= {"OK", "UNAVAILABLE"}
    assert records[-1]["message"] == "stopped"


def test_an_open_stream_ends_at_shutdown_with_all_its_answers(
    tiny_repository: str, cat: bytes
) -> None:
    item = classify_pb2.ClassifyRequest(request_id="one", image=classify_pb2.Image(encoded=cat))
    with (
        run_server("--repository", tiny_repository) as server,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        release = threading.Event()

        def requests():
            yield classify_pb2.ClassifyStreamRequest(request=item)
            release.wait(timeout=60)

        stream = classify_pb2_grpc.ClassifyServiceStub(channel).ClassifyStream(requests())
        assert next(stream).result.request_id == "one"
        assert server.terminate() == 0
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        release.set()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_health_watchers_see_the_server_come_and_go(tiny_repository: str) -> None:
    with (
        run_server("--repository", tiny_repository) as server,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "classify.v1.ClassifyService", "classify.v1.ModelService"):
            request = health_pb2.HealthCheckRequest(service=service)
            assert stub.Check(request, timeout=10).status == SERVING
        liveness = health_pb2.HealthCheckRequest(service="liveness")
        assert stub.Check(liveness, timeout=10).status == SERVING
        watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(3)]
        assert [next(watch).status for watch in watches] == [SERVING] * 3
        watches[0].cancel()
        unknown = stub.Watch(health_pb2.HealthCheckRequest(service="no"), timeout=60)
        assert next(unknown).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="no"), timeout=10)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert server.terminate() == 0
        assert [next(watch).status for watch in watches[1:]] == [NOT_SERVING] * 2


@pytest.mark.parametrize("fronts", ["1", "2"])
def test_a_taken_port_is_a_clear_error(server: Server, fronts: str) -> None:
    result = start("--port", server.grpc.rpartition(":")[2], "--fronts", fronts)
    assert result.returncode == 1
    assert "port: cannot listen" in result.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--max-batch-size", "0"), "max_batch_size"),
        (("--config", "missing.toml"), "config"),
    ],
)
def test_bad_settings_are_named(flags: tuple[str, str], message: str) -> None:
    result = start(*flags)
    assert result.returncode == 2
    assert message in result.stderr


@pytest.mark.parametrize("fronts", ["1", "2"])
def test_an_empty_repository_is_a_clear_error(tmp_path: Path, fronts: str) -> None:
    result = start("--repository", str(tmp_path), "--fronts", fronts)
    assert result.returncode == 1
    assert "repository" in result.stderr


def test_a_corrupt_version_is_refused_and_the_labelled_one_serves(
    tmp_path: Path, cat: bytes
) -> None:
    zoo = tmp_path / "zoo"
    shutil.copytree(ZOO, zoo)
    model = zoo / "cats-vs-dogs"
    corrupt = model / "99"
    shutil.copytree(model / VERSION, corrupt)
    manifest = json.loads((corrupt / "manifest.json").read_text())
    manifest["version"] = 99
    (corrupt / "manifest.json").write_text(json.dumps(manifest))
    weights = bytearray((corrupt / "model.pt").read_bytes())
    weights[len(weights) // 2] ^= 1
    (corrupt / "model.pt").write_bytes(weights)
    (model / "labels.json").write_text(f'{{"stable": {VERSION}}}')
    with (
        run_server("--repository", str(zoo)) as server,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        image = classify_pb2.Image(encoded=cat)
        answer = classify_pb2_grpc.ClassifyServiceStub(channel).Classify(
            classify_pb2.ClassifyRequest(image=image)
        )
        assert answer.model_version == VERSION
        listed = model_pb2_grpc.ModelServiceStub(channel).ListModels(model_pb2.ListModelsRequest())
        states = {
            item.version: (item.state, item.state_reason)
            for item in listed.models
            if item.name == "cats-vs-dogs"
        }
    assert states[VERSION] == (model_pb2.MODEL_STATE_READY, "")
    assert states["99"] == (
        model_pb2.MODEL_STATE_FAILED,
        "model.pt differs from its SHA-256 digest",
    )


def test_the_command_line_tells_cats_from_dogs(server: Server) -> None:
    command = [sys.executable, "-m", "client", "classify", str(PHOTOS), "--json"]
    result = subprocess.run(
        [*command, "--server", server.grpc], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    right = [Path(line["path"]).name.startswith(line["predictions"][0]["label"]) for line in lines]
    assert len(right) == 10
    assert sum(right) >= 9


def start(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server", "--metrics-port", "0", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
