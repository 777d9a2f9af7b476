"""How peers are called and metered; the peers themselves are no dependency of the tests."""

import asyncio
import base64
import json
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from aiohttp import web

from benchmarks.peers import environments
from benchmarks.peers.catalogue import PEERS, Served, Settings
from benchmarks.peers.open_inference import METHOD, infer_request
from benchmarks.peers.targets import GrpcTarget, HttpTarget
from benchmarks.serving.cpu import cpu_seconds
from benchmarks.serving.results import Key, Results
from client.bench.sender import OK, Answer

PHOTO = bytes(range(200))


def test_an_open_inference_request_on_the_wire():
    """Field numbers and wire types as the protocol has them: 1, 5 {1, 2, 3} and 7."""
    raw = struct.pack("<I", len(PHOTO)) + PHOTO
    tensor = b"\x0a\x05photo" + b"\x12\x05BYTES" + b"\x1a\x02\x01\x01"
    expected = b"\x0a\x01m" + b"\x2a" + bytes([len(tensor)]) + tensor + b"\x3a\xcc\x01" + raw
    assert infer_request("m", [PHOTO]) == expected


@pytest.fixture
def grpc_server():
    """Serve the raw method and ModelInfer; yields the address and what was received."""
    received = []

    class Handler(grpc.GenericRpcHandler):
        def service(self, call):
            def answer(request, context):
                received.append((call.method, request))
                if request == b"refuse":
                    context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
                return b""

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", received
    server.stop(None).wait()


async def test_grpc_peers(grpc_server):
    address, received = grpc_server
    async with GrpcTarget(address, "raw").open() as sender:
        assert await sender.send([PHOTO], 30) == [Answer(OK)]
        assert await sender.send([b"refuse"], 30) == [Answer("UNAVAILABLE")]
    async with GrpcTarget(address, "open inference").open() as sender:
        assert await sender.send([PHOTO], 30) == [Answer(OK)]
    assert received[0] == ("/peer.Classifier/Classify", PHOTO)
    assert received[-1] == (METHOD, infer_request("classifier", [PHOTO]))
    async with GrpcTarget(address, "open inference", "second").open() as sender:
        assert await sender.send([PHOTO, PHOTO], 30) == [Answer(OK)] * 2
    assert received[-1] == (METHOD, infer_request("second", [PHOTO, PHOTO]))


async def test_answers_on_a_stream_find_whom_they_belong_to():
    """Two photos are answered in the other order, the first with an error."""

    async def infer(requests, _context):
        ids = [_id(request) async for request in limited(requests, 2)]
        for name in reversed(ids):
            response = b"\x1a" + bytes([len(name)]) + name
            error = b"\x0a\x03bad" if name == ids[0] else b""
            yield error + b"\x12" + bytes([len(response)]) + response

    server = grpc.aio.server()
    handlers = {"ModelStreamInfer": grpc.stream_stream_rpc_method_handler(infer)}
    service = "inference.GRPCInferenceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with GrpcTarget(f"127.0.0.1:{port}", "open inference", stream=True).open() as sender:
        sending = [sender.send([PHOTO], 30), sender.send([PHOTO], 30)]
        assert await asyncio.gather(*sending) == [[Answer("INTERNAL")], [Answer(OK)]]
    await server.stop(None)


async def limited(requests, number):
    """The first requests of a stream."""
    for _ in range(number):
        yield await anext(requests)


def _id(request):
    """The id of a ModelInferRequest to "classifier": its second field on the wire."""
    start = len(b"\x0a\x0aclassifier\x1a\x01")
    return request[start : start + 1]


async def test_http_peers():
    received = []

    async def answer(request):
        received.append((request.headers["Content-Type"], await request.read()))
        return web.Response(status=int(request.match_info["status"]))

    app = web.Application()
    app.router.add_post("/{status}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def statuses(*targets):
        found = []
        for target in targets:
            async with target.open() as sender:
                ((status, _),) = await sender.send([PHOTO], 30)
                found.append(status)
        return found

    codes = (200, 400, 500, 503, 504)
    assert await statuses(*(HttpTarget(f"{url}/{code}") for code in codes)) == [
        *("OK", "INVALID_ARGUMENT", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED")
    ]
    assert received[0] == ("application/octet-stream", PHOTO)
    await statuses(HttpTarget(f"{url}/200", "image"), HttpTarget(f"{url}/200", "photos", True))
    text = base64.b64encode(PHOTO).decode()
    assert [json.loads(body) for _, body in received[-2:]] == [{"image": text}, {"photos": [text]}]
    await runner.cleanup()
    assert await statuses(HttpTarget(f"{url}/200")) == ["UNAVAILABLE"]


def test_every_peer_has_its_folder_and_pins_its_requirements():
    for name in PEERS:
        requirements = (environments.HERE / name / "requirements.txt").read_text().splitlines()
        assert all("==" in line for line in requirements)
        assert any(
            line.split("==")[0].split("[")[0] == PEERS[name].package for line in requirements
        )


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_is_started_with_its_own_interpreter_on_a_port(name):
    command = PEERS[name].command(4711)
    assert str(environments.python(name)) in command
    assert "4711" in command
    assert isinstance(PEERS[name].targets(4711)["unary"], GrpcTarget | HttpTarget)
    assert PEERS[name].targets(4711).keys() == PEERS[name].offers | {"unary"}


def test_a_second_model_has_an_address_of_its_own():
    assert PEERS["litserve"].targets(1)["second"].url == "http://127.0.0.1:1/second"
    assert PEERS["mlserver"].targets(1)["second"].model == "second"


def test_a_compiled_peer_is_the_same_but_for_its_model():
    plain = PEERS["pytriton"]
    compiled = plain.compiled()
    assert (compiled.name, compiled.command(1)) == ("pytriton-compiled", plain.command(1))
    assert compiled.environment == {**plain.environment, "COMPILED": "1"}


def test_settings_reach_the_peers_by_the_environment(tmp_path):
    model = Served("net", tmp_path / "model.pt", tmp_path / "net.pt2", 160)
    variables = Settings((model,), tmp_path).environment()
    assert variables.keys() >= {"MAX_BATCH", "MAX_DELAY_MS", "WORKERS", "COMPILED"}
    (told,) = json.loads(variables["MODELS"])
    assert (told["file"], told["side"]) == (str(tmp_path / "model.pt"), 160)


def test_processor_time_includes_what_a_process_started():
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    nested = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {burn!r}"
    nested += " + '\\nprint(1, flush=True); input()'], stdin=subprocess.PIPE); p.wait()"
    with subprocess.Popen(
        [sys.executable, "-c", nested], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline()
        assert cpu_seconds(process.pid) >= 0.25
        process.kill()


def test_results_are_kept_as_they_come_and_read_again(tmp_path):
    results = Results(tmp_path / "results.jsonl")
    assert list(results) == []
    key = Key(0, "resnet18", "litserve", "a", 16)
    results.add(key, {"rate": 12.5})
    results.add(Key(1, "resnet18", "litserve", "a", 16), {"failed": "ended with 1"})
    assert next(iter(results)) == (key, {"rate": 12.5})
