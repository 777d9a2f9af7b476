"""OpenTelemetry traces: a span for each request and each of its steps, and one for each batch.

Spans of steps are made when the request has ended, from what its steps took: a request that
is not traced costs one draw. Names of attributes follow the semantic conventions of RPC
(opentelemetry.io/docs/specs/semconv/rpc). Needs the extra ``tracing``.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from grpc import StatusCode as GrpcCode
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from server.telemetry.request_log import RequestRecord, Steps

PARENT_KEY = "traceparent"  # W3C Trace Context
_EXPORT_TIMEOUT_S = 5
_NANOSECONDS = 1e9
_PROPAGATOR = TraceContextTextMapPropagator()
# The conventions count these as the server's errors, the others as the caller's.
_SERVER_ERRORS = {
    "UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
}  # fmt: skip


class Tracing:
    """Traces a share of the requests, and those whose caller traces them.

    Args:
        endpoint: Of an OTLP receiver (gRPC): http://HOST:PORT, or https.
        share: Of the requests that come without a trace, 0 to 1.
        service: The API's name.
        version: The server's.
        draw: A number from 0 to 1.
    """

    def __init__(
        self,
        endpoint: str,
        share: float,
        service: str,
        version: str,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._share = share
        self._service = service
        self._draw = draw
        resource = Resource.create({"service.name": "menagerie", "service.version": version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("menagerie.server", version)

    def begin(self, method: str, headers: Mapping[str, str]) -> "RequestTrace | None":
        """The trace of a request that has just arrived; None when it is not traced.

        Args:
            method: Of the API.
            headers: The call's metadata of W3C Trace Context: traceparent, tracestate.
        """
        parent = _PROPAGATOR.extract(headers) if PARENT_KEY in headers else None
        if not self._is_sampled(parent):
            return None
        span = self._tracer.start_span(
            f"{self._service}/{method}",
            context=parent,
            kind=SpanKind.SERVER,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": self._service,
                "rpc.method": method,
            },
        )
        return RequestTrace(self._tracer, span)

    def _is_sampled(self, parent: Context | None) -> bool:
        if parent is not None:  # most requests have none, and should cost nothing more
            caller = get_current_span(parent).get_span_context()
            if caller.is_valid:
                return caller.trace_flags.sampled
        return self._draw() < self._share

    def close(self) -> None:
        """Send what is left; takes a few seconds at most."""
        self._provider.force_flush(_EXPORT_TIMEOUT_S * 1000)
        self._provider.shutdown()


class RequestTrace:
    """A request that is traced."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._began_ns = time.time_ns()
        self._batch: SpanContext | None = None
        self.trace_id = format_trace_id(span.get_span_context().trace_id)

    def end(self, record: RequestRecord) -> None:
        """Close the request's span, with a span for each step that it went through."""
        if record.steps is not None:
            self._end_steps(record.steps)
        self._span.set_attributes(
            {
                "rpc.grpc.status_code": GrpcCode[record.code].value[0],
                "menagerie.request_id": record.request_id,
                "menagerie.model": record.model,
                "menagerie.version": record.version,
            }
        )
        if record.code in _SERVER_ERRORS:
            self._span.set_status(Status(StatusCode.ERROR, record.code))
        self._span.end(self._began_ns + round(record.total_s * _NANOSECONDS))

    def _end_steps(self, steps: Steps) -> None:
        context = set_span_in_context(self._span)
        links = [Link(self._batch)] if self._batch is not None else []
        at_ns = self._began_ns
        for name, seconds in (
            ("decode", steps.decode_s),
            ("queue", steps.queue_s),
            ("engine", steps.engine_s),
        ):
            span = self._tracer.start_span(
                name, context, start_time=at_ns, links=links if name == "engine" else ()
            )
            at_ns += round(seconds * _NANOSECONDS)
            if name == "engine":
                span.set_attribute("menagerie.batch_size", steps.batch_size)
                span.set_attribute("menagerie.batch_closed_by", steps.closed_by)
            span.end(at_ns)

    @contextmanager
    def batch(self, members: Sequence["RequestTrace"], size: int) -> Iterator[None]:
        """A span around the run of a batch, in a trace of its own, linked with its requests.

        Args:
            members: Those in the batch that are traced, this one among them.
            size: Images in the batch.
        """
        with self._tracer.start_as_current_span(
            "batch",
            context=Context(),  # a parent would make the batch belong to one of its requests
            links=[Link(member._span.get_span_context()) for member in members],
            attributes={"menagerie.batch_size": size, "menagerie.batch_traced": len(members)},
        ) as span:
            for member in members:
                member._batch = span.get_span_context()
            yield
