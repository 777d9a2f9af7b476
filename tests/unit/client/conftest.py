"""A scripted server: real gRPC on a free port, answers as the test says."""

import io
import sys
import threading
from collections import deque
from concurrent import futures
from dataclasses import dataclass, field

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from client import Client
from client.__main__ import app
from client.health import OVERALL, SERVICES
from proto.classify.v1 import classify_pb2, classify_pb2_grpc, model_pb2, model_pb2_grpc


def rpc_error_status(code, message, *, field="", reason="", retry_after_s=None):
    """A google.rpc.Status with the details that the contract promises."""
    details = []
    if field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if reason:
        details.append(error_details_pb2.ErrorInfo(reason=reason, domain="menagerie"))
    if retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = []
    for detail in details:
        any_detail = any_pb2.Any()
        any_detail.Pack(detail)
        packed.append(any_detail)
    return status_pb2.Status(code=code_pb2.Code.Value(code), message=message, details=packed)


NOT_AN_IMAGE = rpc_error_status(
    "INVALID_ARGUMENT", "image.encoded is no JPEG, PNG or WebP", field="image.encoded"
)


class NoticedHealth(health.HealthServicer):
    """The usual health service; calls `on_watch` with the service that is watched."""

    on_watch = None

    def Watch(self, request, context, *callback):
        if self.on_watch is not None:
            self.on_watch(request.service)
        return super().Watch(request, context, *callback)


@dataclass
class ScriptedServer(
    classify_pb2_grpc.ClassifyServiceServicer, model_pb2_grpc.ModelServiceServicer
):
    """Answers "cat" for images that begin with ``cat``, otherwise "dog".

    `item_errors` maps image bytes to the status of that image; `call_errors` are the statuses
    of the next calls; `stream` replaces what ClassifyStream does; `released` unblocks the
    methods that wait for it.
    """

    port: int = 0
    item_errors: dict = field(default_factory=lambda: {b"not an image": NOT_AN_IMAGE})
    call_errors: deque = field(default_factory=deque)
    requests: list = field(default_factory=list)
    metadata: list = field(default_factory=list)
    models: list = field(default_factory=list)
    stream: object = None
    tls: grpc.ServerCredentials | None = None
    released: threading.Event = field(default_factory=threading.Event)
    called: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        self.health = NoticedHealth()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        pool = futures.ThreadPoolExecutor(max_workers=8)
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
        self._server = grpc.server(pool, options=options)
        classify_pb2_grpc.add_ClassifyServiceServicer_to_server(self, self._server)
        model_pb2_grpc.add_ModelServiceServicer_to_server(self, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        if self.tls is not None:
            self.port = self._server.add_secure_port(self.address, self.tls)
        else:
            self.port = self._server.add_insecure_port(self.address)
        self._server.start()

    def stop(self):
        self.released.set()
        self._server.stop(None).wait()

    def set_serving(self, serving=True):
        status = health_pb2.HealthCheckResponse
        for service in (OVERALL, *SERVICES):
            self.health.set(service, status.SERVING if serving else status.NOT_SERVING)

    def Classify(self, request, context):
        self._begin(context)
        self.requests.append(request)
        result = self.result(request)
        if result.HasField("error"):
            context.abort_with_status(rpc_status.to_status(result.error))
        return result.response

    def ClassifyStream(self, request_iterator, context):
        self._begin(context)
        if self.stream is not None:
            yield from self.stream(self._recorded(request_iterator), context)
            return
        for request in self._recorded(request_iterator):
            yield classify_pb2.ClassifyStreamResponse(result=self.result(request))

    def ClassifyBatch(self, request, context):
        self._begin(context)
        self.requests.extend(request.requests)
        results = [self.result(item) for item in request.requests]
        return classify_pb2.ClassifyBatchResponse(results=results)

    def ListModels(self, request, context):  # noqa: ARG002 (gRPC passes it)
        self._begin(context)
        return model_pb2.ListModelsResponse(models=self.models)

    def GetModel(self, request, context):
        self._begin(context)
        self.requests.append(request)
        return model_pb2.GetModelResponse(model=self.models[0])

    def _recorded(self, request_iterator):
        for message in request_iterator:
            self.requests.append(message.request)
            yield message.request

    def _begin(self, context):
        self.called.set()
        self.metadata.append(dict(context.invocation_metadata()))
        if self.call_errors:
            error = self.call_errors.popleft()
            if callable(error):
                error(context)
            else:
                context.abort_with_status(rpc_status.to_status(error))

    def result(self, request):
        image = request.image.encoded
        if image in self.item_errors:
            return classify_pb2.ClassifyResult(
                request_id=request.request_id, error=self.item_errors[image]
            )
        return classify_pb2.ClassifyResult(
            request_id=request.request_id, response=labels(request, image)
        )


def labels(request, image):
    best, other = ("cat", "dog") if image.startswith(b"cat") else ("dog", "cat")
    return classify_pb2.ClassifyResponse(
        request_id=request.request_id or "made-by-server",
        model_name=request.model.name or "pets",
        model_version=request.model.version or "1",
        predictions=[
            classify_pb2.Prediction(index=0, id=best, display_name=best.title(), score=0.9),
            classify_pb2.Prediction(index=1, id=other, display_name=other.title(), score=0.1),
        ],
        timings=classify_pb2.Timings(
            decode_us=1500, queue_us=200, engine_us=8000, total_us=9900, batch_size=4
        ),
    )


@dataclass
class CliResult:
    code: int
    out: str
    err: str


@pytest.fixture
def server():
    scripted = ScriptedServer()
    scripted.start()
    scripted.set_serving()
    yield scripted
    scripted.stop()


@pytest.fixture
def client(server):
    with Client(server.address) as connected:
        yield connected


@pytest.fixture
def make_status():
    return rpc_error_status


@pytest.fixture
def new_server():
    """A server that is not started yet, and what to start it with, on a port known before."""
    scripted = ScriptedServer()
    scripted.start()
    port = scripted.port
    scripted.stop()
    successor = ScriptedServer(port=port)
    yield successor
    if hasattr(successor, "_server"):
        successor.stop()


@pytest.fixture
def nobody(new_server):
    """An address where nobody listens."""
    return new_server.address


@pytest.fixture
def cli(capsys, monkeypatch):
    """Run ``python -m client`` in this process, on the server that is named."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("MENAGERIE_SERVER", raising=False)

    def run(*args, stdin=None):
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            app([str(arg) for arg in args])
        captured = capsys.readouterr()
        return CliResult(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def photos(tmp_path):
    """Write files by name; the text is the image."""

    def write(**images):
        paths = []
        for name, content in images.items():
            path = tmp_path / f"{name}.jpg"
            path.write_bytes(content)
            paths.append(path)
        return paths

    return write
