"""Traces of a real server, as a real OTLP receiver gets them."""

import queue
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field

import grpc
import pytest

from proto.classify.v1 import classify_pb2, classify_pb2_grpc
from tests.artifacts import TINY_NAME
from tests.integration.conftest import Server, run_server

trace_service = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc",
    reason="the extra 'tracing' is not installed",
)
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2  # noqa: E402
from opentelemetry.proto.trace.v1 import trace_pb2  # noqa: E402

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
TRACED = (("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-01"),)
UNTRACED = (("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-00"),)


@dataclass
class Receiver(trace_service.TraceServiceServicer):
    """Keeps what is exported to it."""

    requests: "queue.Queue[trace_service_pb2.ExportTraceServiceRequest]" = field(
        default_factory=queue.Queue
    )

    def Export(self, request, context):  # noqa: ARG002 - gRPC passes it
        self.requests.put(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    def take(self) -> tuple[dict[str, str], dict[str, list[trace_pb2.Span]]]:
        """The resource, and every span so far by trace id."""
        resource: dict[str, str] = {}
        traces: dict[str, list[trace_pb2.Span]] = defaultdict(list)
        while not self.requests.empty():
            for spans in self.requests.get().resource_spans:
                resource.update(attributes(spans.resource))
                for scope in spans.scope_spans:
                    for span in scope.spans:
                        traces[span.trace_id.hex()].append(span)
        return resource, traces


@pytest.fixture
def receiver() -> Iterator[tuple[Receiver, str]]:
    server, receiver = grpc.server(futures.ThreadPoolExecutor(2)), Receiver()
    trace_service.add_TraceServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield receiver, f"http://127.0.0.1:{port}"
    server.stop(None).wait()


def attributes(owner) -> dict[str, object]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in owner.attributes}


def traced_server(repository: str, *flags: str):
    return run_server("--repository", repository, "--device", "cpu", *flags)


def classify(server: Server, image: bytes, metadata=(), **options) -> grpc.RpcError | None:
    request = classify_pb2.ClassifyRequest(
        image=classify_pb2.Image(encoded=image), request_id="mine"
    )
    with grpc.insecure_channel(server.grpc) as channel:
        stub = classify_pb2_grpc.ClassifyServiceStub(channel)
        try:
            stub.Classify(request, timeout=30, metadata=metadata, **options)
        except grpc.RpcError as error:
            return error
    return None


def test_a_traced_call_is_a_span_per_step_and_a_linked_batch(
    receiver, tiny_repository: str, cat: bytes
) -> None:
    spans, endpoint = receiver
    with traced_server(
        tiny_repository, "--otlp-endpoint", endpoint, "--trace-share", "0"
    ) as server:
        assert classify(server, cat) is None
        assert classify(server, cat, UNTRACED) is None
        assert classify(server, cat, TRACED) is None
        request = urllib.request.Request(
            f"http://{server.metrics}/metrics", headers={"Accept": "application/openmetrics-text"}
        )
        with urllib.request.urlopen(request, timeout=30) as page:  # noqa: S310 - always http
            metrics = page.read().decode()
        assert server.terminate() == 0
        log = server.log.result(timeout=30)
    resource, traces = spans.take()
    assert resource["service.name"] == "menagerie"
    ours = {span.name: span for span in traces.pop(TRACE_ID)}
    assert ours.keys() == {"classify.v1.ClassifyService/Classify", "decode", "queue", "engine"}
    root = ours.pop("classify.v1.ClassifyService/Classify")
    assert root.parent_span_id.hex() == PARENT_ID
    assert root.kind == trace_pb2.Span.SPAN_KIND_SERVER
    assert attributes(root) == {
        "rpc.system": "grpc", "rpc.service": "classify.v1.ClassifyService",
        "rpc.method": "Classify",
        "rpc.grpc.status_code": 0, "menagerie.request_id": "mine",
        "menagerie.model": TINY_NAME, "menagerie.version": "1",
    }  # fmt: skip
    at = root.start_time_unix_nano
    for name in ("decode", "queue", "engine"):
        assert ours[name].parent_span_id == root.span_id
        assert ours[name].start_time_unix_nano >= at
        at = ours[name].end_time_unix_nano
    assert at <= root.end_time_unix_nano
    ((batch,),) = traces.values()  # nothing else was traced
    assert batch.name == "batch"
    assert not batch.parent_span_id
    assert [link.span_id for link in batch.links] == [root.span_id]
    assert [link.span_id for link in ours["engine"].links] == [batch.span_id]
    assert f'trace_id="{TRACE_ID}"' in metrics  # an exemplar
    assert f'"trace_id": "{TRACE_ID}"' in log


def test_a_share_is_traced_and_errors_are_marked(
    receiver, tiny_repository: str, cat: bytes
) -> None:
    spans, endpoint = receiver
    with traced_server(
        tiny_repository, "--otlp-endpoint", endpoint, "--trace-share", "1"
    ) as server:
        assert classify(server, cat) is None
        refused = classify(server, b"no image")
        assert refused is not None
        assert server.terminate() == 0
    _, traces = spans.take()
    roots = [span for trace in traces.values() for span in trace if "/Classify" in span.name]
    codes = {attributes(span)["rpc.grpc.status_code"]: span for span in roots}
    assert codes.keys() == {0, 3}
    assert all(not span.parent_span_id for span in roots)
    # The caller's mistake is no error of the server's.
    assert {span.status.code for span in roots} == {trace_pb2.Status.STATUS_CODE_UNSET}


def test_a_receiver_that_is_away_costs_spans_and_nothing_else(
    tiny_repository: str, cat: bytes
) -> None:
    with traced_server(
        tiny_repository, "--otlp-endpoint", "http://127.0.0.1:1", "--trace-share", "1"
    ) as server:
        assert all(classify(server, cat) is None for _ in range(5))
        assert server.terminate() == 0
