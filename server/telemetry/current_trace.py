"""Which traced request the running task works for. Knows nothing of OpenTelemetry, an extra."""

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.telemetry.tracing import RequestTrace

current_trace: ContextVar["RequestTrace | None"] = ContextVar("current_trace", default=None)


def exemplar() -> dict[str, str] | None:
    """The current trace as a metric's exemplar; None where there is none."""
    trace = current_trace.get()
    return None if trace is None else {"trace_id": trace.trace_id}
