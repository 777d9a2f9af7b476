"""The one place where errors become gRPC statuses.

Details follow google.rpc (google/rpc/error_details.proto): ErrorInfo always,
BadRequest for a wrong field, RetryInfo for what is worth a retry. The text of
an unexpected exception never leaves the server.
"""

import logging

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from server.errors import (
    CallLostError,
    DeadlineExpiredError,
    DrainingError,
    EngineError,
    EngineMemoryError,
    GraceExpiredError,
    InvalidRequestError,
    LoadFailedError,
    ModelChangedError,
    NotFoundError,
    NotReadyError,
    PermissionDeniedError,
    PreconditionError,
    QueueFullError,
    QuotaError,
    ServingError,
    TooManyItemsError,
    UnauthenticatedError,
    UnavailableError,
    UnknownMethodError,
)

log = logging.getLogger(__name__)

DOMAIN = "menagerie"
REQUEST_ID_KEY = "menagerie-request-id"
_INTERNAL_MESSAGE = "internal error; the server's logs have it under this request id"

# Every leaf of ServingError has a row: the gRPC code and the machine-readable reason.
TABLE: dict[type[ServingError], tuple[int, str]] = {
    InvalidRequestError: (code_pb2.INVALID_ARGUMENT, "INVALID_FIELD"),
    NotFoundError: (code_pb2.NOT_FOUND, "NOT_FOUND"),
    PreconditionError: (code_pb2.FAILED_PRECONDITION, "PRECONDITION"),
    LoadFailedError: (code_pb2.FAILED_PRECONDITION, "LOAD_FAILED"),
    UnknownMethodError: (code_pb2.UNIMPLEMENTED, "UNKNOWN_METHOD"),
    TooManyItemsError: (code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_ITEMS"),
    UnauthenticatedError: (code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED"),
    PermissionDeniedError: (code_pb2.PERMISSION_DENIED, "PERMISSION_DENIED"),
    QuotaError: (code_pb2.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"),
    QueueFullError: (code_pb2.UNAVAILABLE, "QUEUE_FULL"),
    DrainingError: (code_pb2.UNAVAILABLE, "DRAINING"),
    GraceExpiredError: (code_pb2.UNAVAILABLE, "GRACE_EXPIRED"),
    CallLostError: (code_pb2.UNAVAILABLE, "CALL_LOST"),
    ModelChangedError: (code_pb2.UNAVAILABLE, "MODEL_CHANGED"),
    NotReadyError: (code_pb2.UNAVAILABLE, "MODEL_NOT_READY"),
    DeadlineExpiredError: (code_pb2.DEADLINE_EXCEEDED, "DEADLINE_EXPIRED"),
    EngineMemoryError: (code_pb2.RESOURCE_EXHAUSTED, "ENGINE_OUT_OF_MEMORY"),
    EngineError: (code_pb2.INTERNAL, "ENGINE_FAILED"),
}


def status_of(error: Exception, request_id: str) -> status_pb2.Status:
    """The status for ``error``; an unexpected one is logged and becomes INTERNAL."""
    row = TABLE.get(type(error)) if isinstance(error, ServingError) else None
    if row is None:
        log.error("request failed", exc_info=error, extra={"fields": {"request_id": request_id}})
        row, message = (code_pb2.INTERNAL, "INTERNAL"), _INTERNAL_MESSAGE
    else:
        message = str(error)
    code, reason = row
    status = status_pb2.Status(code=code, message=message)
    info = error_details_pb2.ErrorInfo(
        reason=reason, domain=DOMAIN, metadata={"request_id": request_id}
    )
    for detail in (info, *_details(error)):
        status.details.add().Pack(detail)
    return status


def request_id_of(status: status_pb2.Status) -> str:
    """The id under which the logs have this error."""
    info = error_details_pb2.ErrorInfo()
    unpacked = any(detail.Unpack(info) for detail in status.details)
    return info.metadata["request_id"] if unpacked else ""


def trailing_metadata(status: status_pb2.Status) -> tuple[tuple[str, str], ...]:
    """What a client may read without unpacking the details.

    The request's id; and when a retry is worth it, in the words that gRPC's own retries
    obey (gRFC A6, "Pushback").
    """
    metadata = [(REQUEST_ID_KEY, request_id_of(status))]
    retry = error_details_pb2.RetryInfo()
    if status.code == code_pb2.UNAVAILABLE and any(
        detail.Unpack(retry) for detail in status.details
    ):
        metadata.append(("grpc-retry-pushback-ms", str(retry.retry_delay.ToMilliseconds())))
    return tuple(metadata)


def _details(error: Exception) -> list[Message]:
    if isinstance(error, InvalidRequestError | NotFoundError):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.problem
        )
        return [error_details_pb2.BadRequest(field_violations=[violation])]
    if isinstance(error, UnavailableError | QuotaError):
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after_s * 1000))
        return [error_details_pb2.RetryInfo(retry_delay=delay)]
    return []
