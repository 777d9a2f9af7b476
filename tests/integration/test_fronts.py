"""Several fronts before one engine: what dies, what is lost with it, and what comes back."""

import io
import os
import select
import signal
import socket
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image

from client import Client
from client.admin import AdminClient
from client.replay.record import read_record
from proto.classify.v1 import classify_pb2, classify_pb2_grpc, model_pb2, model_pb2_grpc
from server.fronts.shared_folder import place, sweep
from tests.artifacts import TINY_LABELS, publish_tiny_artifact
from tests.integration.conftest import Server, run_server
from tests.load import watching

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ALONE = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("capture")


# One for all tests here, in this order: to start three processes takes a while.
@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, capture: Path):
    root = tmp_path_factory.mktemp("two versions")
    for _ in range(2):
        publish_tiny_artifact(root)
    flags = ("--fronts", "2", "--repository", str(root), "--version-policy", "latest:2")
    keeping = ("--capture", str(capture), "--capture-budget-mib", "1")
    keeping += ("--record", str(capture.with_name("record")), "--record-share", "1")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        admin = probe.getsockname()[1]
    flags += ("--admin-port", str(admin), "--state-dir", str(root.with_name("state")))
    with run_server(*flags, *keeping) as running:
        yield replace(running, admin=f"127.0.0.1:{admin}")


@pytest.fixture
def request_of(cat: bytes) -> classify_pb2.ClassifyRequest:
    return classify_pb2.ClassifyRequest(image=classify_pb2.Image(encoded=cat))


def processes(server: Server, role: str) -> list[int]:
    """The pids of the server's processes of a role."""
    return watching.processes(server.process.pid, role)


def metrics_of(server: Server) -> list[str]:
    """What a scrape finds, by line."""
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=30) as response:
        return response.read().decode().splitlines()


def wait_until_gone(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 60)[0], f"process {pid} lives on"
    finally:
        os.close(descriptor)


def call(address: str, request: classify_pb2.ClassifyRequest) -> grpc.StatusCode:
    """One call on a connection of its own, which any front may take."""
    with grpc.insecure_channel(address, ALONE) as channel:
        try:
            classify_pb2_grpc.ClassifyServiceStub(channel).Classify(request, timeout=30)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def counted(server: Server, metric: str) -> dict[str, float]:
    """The samples of a metric, by their labels."""
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in metrics_of(server)
        if line.startswith(metric + "{")
    }


def test_metrics_count_the_calls_of_all_fronts(server: Server, request_of) -> None:
    for _ in range(12):
        assert call(server.grpc, request_of) is grpc.StatusCode.OK
    refused = classify_pb2.ClassifyRequest(image=classify_pb2.Image(encoded=b"no image"))
    assert call(server.grpc, refused) is grpc.StatusCode.INVALID_ARGUMENT
    requests = counted(server, "menagerie_requests_total")
    by_code = {
        code: sum(value for key, value in requests.items() if f'code="{code}"' in key)
        for code in ("OK", "INVALID_ARGUMENT")
    }
    assert by_code == {"OK": 12, "INVALID_ARGUMENT": 1}


def noise(seed: int) -> bytes:
    """A JPEG of about 110 KB."""
    pixels = np.random.default_rng(seed).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


def test_photos_that_came_by_any_front_are_kept_within_one_budget(
    server: Server, capture: Path
) -> None:
    photos = [noise(seed) for seed in range(20)]
    for number, photo in enumerate(photos):  # each by a connection of its own
        with Client(server.grpc) as client:
            allowed = number != 0
            answer = client.classify(photo, may_keep_image=allowed)
            other = next(name for name in TINY_LABELS if name != answer.predictions[0].id)
            client.feedback(answer.request_id, other)
    outcomes = {"kept": 0.0, "budget": 0.0}
    give_up = time.monotonic() + 60
    while sum(outcomes.values()) < len(photos) - 1:
        assert time.monotonic() < give_up, f"photos are missing: {outcomes}"
        time.sleep(0.05)
        found = counted(server, "menagerie_captured_total")
        outcomes = {name: found.get(f'menagerie_captured_total{{outcome="{name}"}}', 0.0)
                    for name in outcomes}  # fmt: skip
    kept = {path.read_bytes() for path in capture.glob("*.jpg")}
    assert outcomes == {"kept": len(kept), "budget": 19 - len(kept)}
    assert kept <= set(photos[1:])  # the files as they came; nobody allowed the first
    assert 2**19 < sum(map(len, kept)) <= 2**20
    expected = {b"": len(photos[0]), **{photo: len(photo) for photo in photos[1:]}}
    while recorded(capture.with_name("record")) != expected:
        assert time.monotonic() < give_up, "the record lacks images, or has one too many"
        time.sleep(0.05)


def recorded(folder: Path) -> dict[bytes, int]:
    """Images of the record, and how large they came, of requests with large ones."""
    requests = read_record(folder).requests
    large = [one for one in requests if one.image_bytes > 50_000]
    return {one.request.image.encoded: one.image_bytes for one in large}


def test_both_fronts_take_calls(server: Server, request_of) -> None:
    fronts = processes(server, "front")
    assert len(fronts) == 2
    assert len(processes(server, "engine")) == 1
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: call(server.grpc, request_of), range(40)))
    assert set(codes) == {grpc.StatusCode.OK}


def test_copies_go_to_a_version_on_trial(server: Server, request_of) -> None:
    with AdminClient(server.admin, timeout_s=60) as admin:
        admin.set_shadow("tiny", "2", 1.0)
        assert call(server.grpc, request_of) is grpc.StatusCode.OK
        deadline = time.monotonic() + 60
        agrees = 'menagerie_shadow_answers_total{model="tiny",outcome="agrees",version="2"} 1.0'
        while agrees not in metrics_of(server):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        admin.set_shadow("tiny", "", 0.0)
        admin.set_label("tiny", "stable", "1")


def test_a_front_that_dies_is_replaced_and_loses_only_its_own_calls(
    server: Server, request_of
) -> None:
    first, second = processes(server, "front")
    os.kill(first, signal.SIGKILL)
    wait_until_gone(first)
    codes = [call(server.grpc, request_of) for _ in range(20)]
    # A connection that the dead front had been given is lost; all others are served.
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert codes[-1] is grpc.StatusCode.OK
    assert second in processes(server, "front")
    with grpc.insecure_channel(server.grpc, ALONE) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=60, wait_for_ready=True
        )
        assert next(watch).status == SERVING
        watch.cancel()


def test_while_the_engine_starts_again_fronts_say_so(server: Server, request_of) -> None:
    (engine,) = processes(server, "engine")
    with grpc.insecure_channel(server.grpc, ALONE) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=120)
        assert next(watch).status == SERVING
        os.kill(engine, signal.SIGKILL)
        assert next(watch).status == NOT_SERVING
        stub = classify_pb2_grpc.ClassifyServiceStub(channel)
        models = model_pb2_grpc.ModelServiceStub(channel)
        for ask in (
            lambda: stub.Classify(request_of, timeout=30),
            lambda: models.ListModels(model_pb2.ListModelsRequest(), timeout=30),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                ask()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert next(watch).status == SERVING
        labelled = classify_pb2.ClassifyRequest()
        labelled.CopyFrom(request_of)
        labelled.model.version_label = "stable"  # set by call before the engine died
        assert stub.Classify(labelled, timeout=30).model_version == "1"
    assert processes(server, "engine") != [engine]


def test_nothing_is_left_when_the_supervisor_is_killed(server: Server) -> None:
    pids = [*processes(server, "front"), *processes(server, "engine")]
    assert len(pids) >= 2
    arguments = Path(f"/proc/{pids[0]}/cmdline").read_text().split("\0")
    folder = Path(next(argument for argument in arguments if "/menagerie-" in argument))
    assert (folder / "slots-0").exists()
    server.process.kill()
    for pid in pids:
        wait_until_gone(pid)
    sweep(place())  # as the next server does
    assert not folder.exists()
