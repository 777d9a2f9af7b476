import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

import client
from client.images import MAX_IMAGE_BYTES
from client.web.api import Api
from client.web.app import MAX_BODY_BYTES, STATIC
from client.web.limits import ByteBudget, UploadLimits
from client.web.oip import InferenceApi
from client.web.uploads import MAX_BATCH_IMAGES
from tests.gateway import run_gateway

ROOT = Path(client.__file__).parents[1]


@pytest.fixture
def http(server):
    with run_gateway(server.address) as url, httpx.Client(base_url=url, trust_env=False) as asks:
        yield asks


def test_a_raw_body(server, http):
    answer = http.post("/v1/classify?model=pets&version=3&top_k=2&min_score=0.25", content=b"cat")
    assert answer.status_code == 200
    found = answer.json()
    assert [p["label"] for p in found["predictions"]] == ["cat", "dog"]
    assert found["timings"]["engine_us"] == 8000
    (request,) = server.requests
    assert (request.model.name, request.model.version) == ("pets", "3")
    assert (request.top_k, request.min_score) == (2, 0.25)


def test_a_form_and_its_fields(server, http):
    answer = http.post(
        "/v1/classify",
        files={"image": ("my cat.jpg", b"cat")},
        data={"label": "latest", "priority": "bulk"},
        headers={"x-request-id": "mine"},
    )
    assert answer.json()["path"] == "my cat.jpg"
    (request,) = server.requests
    assert request.model.version_label == "latest"
    assert request.priority == 3
    assert request.request_id == "mine"


def test_a_batch_answers_in_order_and_a_bad_one_fails_alone(http):
    images = [b"cat", b"not an image", b"dog"]
    files = [("image", (f"{index}.jpg", image)) for index, image in enumerate(images)]
    first, second, third = http.post("/v1/classify:batch", files=files).json()["results"]
    assert (first["path"], first["predictions"][0]["label"]) == ("0.jpg", "cat")
    assert (third["path"], third["predictions"][0]["label"]) == ("2.jpg", "dog")
    assert second["path"] == "1.jpg"
    assert (second["error"]["status"], second["error"]["field"]) == (400, "image.encoded")


@pytest.mark.parametrize(
    ("code", "details", "status"),
    [
        ("INVALID_ARGUMENT", {"field": "top_k"}, 400),
        ("UNAUTHENTICATED", {}, 401),
        ("PERMISSION_DENIED", {}, 403),
        ("NOT_FOUND", {}, 404),
        ("RESOURCE_EXHAUSTED", {}, 413),
        ("RESOURCE_EXHAUSTED", {"retry_after_s": 1.5}, 429),
        ("INTERNAL", {}, 500),
        ("UNIMPLEMENTED", {}, 501),
        ("DEADLINE_EXCEEDED", {"reason": "DEADLINE_EXPIRED"}, 504),
    ],
)
def test_a_status_of_the_server(server, http, make_status, code, details, status):
    server.call_errors.append(make_status(code, "says no", **details))
    answer = http.post("/v1/classify", content=b"cat")
    assert answer.status_code == status
    told = answer.json()["error"]
    assert (told["code"], told["message"]) == (code, "says no")
    assert told.get("field") == details.get("field")
    assert answer.headers.get("retry-after") == ("2" if "retry_after_s" in details else None)


def test_no_server(nobody):
    with run_gateway(nobody) as url:
        answer = httpx.post(f"{url}/v1/classify", content=b"cat", trust_env=False)
        assert answer.status_code == 503
        assert nobody in answer.json()["error"]["message"]
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 503
        assert httpx.get(f"{url}/healthz", trust_env=False).text == "ok\n"


def test_health(server, http):
    assert http.get("/v1/health").json()["serving"] is True
    assert http.get("/readyz").text == "ok\n"
    server.set_serving(False)
    assert http.get("/v1/health").status_code == 503
    assert http.get("/readyz").text == "not serving\n"


@pytest.mark.parametrize(
    ("query", "field"),
    [("top_k=many", "top_k"), ("min_score=x", "min_score"), ("priority=now", "priority")],
)
def test_a_wrong_choice_is_named(http, query, field):
    answer = http.post(f"/v1/classify?{query}", content=b"cat")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


def test_nothing_to_classify(http):
    assert http.post("/v1/classify").json()["error"]["field"] == "image"
    form = {"content-type": "multipart/form-data; boundary=x"}
    no_file = http.post("/v1/classify", content=b"--x--\r\n", headers=form)
    assert (no_file.status_code, no_file.json()["error"]["field"]) == (400, "image")
    broken = http.post("/v1/classify", content=b"no form at all", headers=form)
    assert broken.status_code == 400
    unbounded = http.post(
        "/v1/classify", content=b"x", headers={"content-type": "multipart/form-data"}
    )
    assert unbounded.status_code == 400


def test_too_many_files(http):
    files = [("image", (f"{index}.jpg", b"cat")) for index in range(MAX_BATCH_IMAGES + 1)]
    answer = http.post("/v1/classify:batch", files=files)
    assert answer.status_code == 413
    assert str(MAX_BATCH_IMAGES) in answer.json()["error"]["message"]
    assert http.post("/v1/classify", files=files[:2]).status_code == 413


def test_an_image_larger_than_a_message_may_be(server, http):
    answer = http.post("/v1/classify", content=b"x" * (MAX_IMAGE_BYTES + 1))
    assert (answer.status_code, answer.json()["error"]["reason"]) == (413, "FILE_TOO_LARGE")
    assert server.requests == []


def test_a_body_that_announces_too_much_is_not_read(http):
    url = httpx.URL(http.base_url)
    with socket.create_connection((url.host, url.port), 10) as raw:
        head = (
            f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
        )
        raw.sendall(head.encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_without_length_is_cut_off(http):
    def endless():
        while True:
            yield bytes(2**20)

    try:
        answer = http.post("/v1/classify", content=endless())
    except (
        httpx.WriteError,
        httpx.ReadError,
    ):  # the answer came while the body was still on its way
        return
    assert (answer.status_code, answer.json()["error"]["reason"]) == (413, "BODY_TOO_LARGE")


def limits(app, *, concurrent=1, body_s=5.0, total_bytes=100):
    budget = ByteBudget(total_bytes)
    return UploadLimits(app, concurrent=concurrent, body_bytes=10, body_s=body_s, budget=budget)


async def through(bounded, *messages):
    """Send messages of one POST through the limits to an app that reads them all."""
    sent = []
    coming = list(messages)

    async def receive():
        return coming.pop(0) if coming else await asyncio.Future()

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "headers": []}
    await bounded(scope, receive, send)
    return sent


async def test_a_body_that_never_ends_is_given_up():
    async def app(_scope, receive, _send):
        while (await receive()).get("more_body"):
            pass

    bounded = limits(app, body_s=0.05)
    with pytest.raises(Exception, match="took longer than"):
        await through(bounded, {"type": "http.request", "body": b"x", "more_body": True})


async def test_more_uploads_than_fit_are_told_to_come_back():
    busy, free = asyncio.Event(), asyncio.Event()

    async def app(_scope, _receive, _send):
        busy.set()
        await free.wait()

    bounded = limits(app)
    first = asyncio.create_task(through(bounded))
    await busy.wait()
    refused = await through(bounded)
    assert refused[0]["status"] == 503
    assert (b"retry-after", b"1") in refused[0]["headers"]
    free.set()
    await first
    assert await through(bounded) == []


async def test_bodies_together_are_bounded_and_their_place_is_given_back():
    free = asyncio.Event()

    async def app(_scope, receive, _send):
        await receive()
        await free.wait()

    bounded = limits(app, concurrent=2, total_bytes=15)
    body = {"type": "http.request", "body": bytes(8), "more_body": False}
    first, second = (asyncio.create_task(through(bounded, body)) for _ in range(2))
    with pytest.raises(Exception, match="busy with uploads"):
        await second
    free.set()
    await first
    assert await through(bounded, body) == []


def test_a_caller_who_leaves_takes_the_call_along(server):
    ended = threading.Event()

    def wait(context):
        context.add_callback(ended.set)
        server.released.wait(90)

    server.call_errors.append(wait)
    with run_gateway(server.address, timeout_s=120) as url:
        port = httpx.URL(url).port
        with socket.create_connection(("127.0.0.1", port), 10) as raw:
            raw.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\ncat")
            assert server.called.wait(60)
        assert ended.wait(30)


def test_unknown_paths_and_methods(http):
    assert http.get("/nothing").json()["error"]["code"] == "NOT_FOUND"
    wrong = http.get("/v1/classify")
    assert (wrong.status_code, wrong.json()["error"]["reason"]) == (405, "HTTP")
    assert http.get("/static/../app.py").status_code == 404
    assert http.get("/static/%2e%2e/app.py").status_code == 404


def test_every_answer_is_strict_with_browsers(http):
    for path in ("/", "/docs", "/static/app.js", "/nothing", "/v1/models"):
        headers = http.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_the_page_names_no_other_place():
    for file in STATIC.glob("*.*"):
        text = file.read_text()
        assert "<style" not in text
        assert " style=" not in text
        places = set(re.findall(r"https?://[\w.:/]*", text))
        assert places <= {"http://www.w3.org/2000/svg", "http://localhost:8080"}


def test_the_openapi_document_names_every_route(http):
    described = http.get("/openapi.json").json()
    served = {
        (route.path, verb.lower())
        for route in (*Api(None).routes(), *InferenceApi(None, None).routes())
        for verb in route.methods - {"HEAD"}
    }
    paths = described["paths"].items()
    assert {(path, verb) for path, verbs in paths for verb in verbs} == served - {
        ("/openapi.json", "get")
    }
    references = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(described)))
    assert references == set(described["components"]["schemas"])
    assert described["openapi"].startswith("3.1")


def test_the_examples(http):
    names = http.get("/examples").json()["examples"]
    assert names
    assert http.get(f"/examples/{names[0]}").content.startswith(b"\xff\xd8")


def test_the_command_says_where_it_is_and_ends_on_a_signal(server):
    command = [sys.executable, "-m", "client", "web", "--port", "0", "--server", server.address]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().split()[0]
        assert httpx.get(f"{address}healthz", trust_env=False).text == "ok\n"
        killer = threading.Timer(20, process.kill)
        killer.start()
        process.terminate()
        assert process.wait(30) in (0, -15)
        killer.cancel()


def test_a_port_that_is_taken(cli):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = cli("web", "--port", taken.getsockname()[1])
    assert result.code == 2
    assert "cannot listen on 127.0.0.1:" in result.err
