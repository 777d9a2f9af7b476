"""The one place where gRPC statuses become this package's errors."""

import re
from collections.abc import Iterable
from typing import cast

import grpc
from google.protobuf.any_pb2 import Any as PackedMessage
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from client import errors
from client.errors import ClassifyError, DeadlineExceededError, ServerUnavailableError

_ERRNO = re.compile(r" \(\d+\)$")  # some versions of gRPC append it
_CODE_NAMES: dict[int, str] = {number: name for name, number in code_pb2.Code.items()}
_CLASSES: dict[str, type[ClassifyError]] = {
    "INVALID_ARGUMENT": errors.InvalidArgumentError,
    "NOT_FOUND": errors.NotFoundError,
    "RESOURCE_EXHAUSTED": errors.ResourceExhaustedError,
    "UNAUTHENTICATED": errors.UnauthenticatedError,
    "PERMISSION_DENIED": errors.PermissionDeniedError,
    "UNIMPLEMENTED": errors.UnimplementedError,
    "CANCELLED": errors.CallCancelledError,
    "DEADLINE_EXCEEDED": errors.DeadlineExceededError,
    "UNAVAILABLE": errors.UnavailableError,
    "INTERNAL": errors.InternalError,
    "UNKNOWN": errors.InternalError,
    "DATA_LOSS": errors.InternalError,
}


def from_rpc_error(error: grpc.RpcError, address: str, timeout_s: float | None) -> ClassifyError:
    """Return what a failed call means.

    UNAVAILABLE and DEADLINE_EXCEEDED without details come from gRPC itself, not from a
    Menagerie server: they are told with the address and the time waited, in seconds.
    """
    status = status_details(error)
    if status is not None:
        return from_status(status)
    message = error.details() or "the server gave no message"
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return ServerUnavailableError(
            f"cannot reach a server at {address} ({_cause(message)})", address=address
        )
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return no_answer(address, timeout_s)
    return from_status(
        status_pb2.Status(code=code_pb2.Code.Value(error.code().name), message=message)
    )


def from_status(status: status_pb2.Status) -> ClassifyError:
    """Return what a google.rpc.Status with its details means; details that do not parse are
    left out, codes that do not exist count as UNKNOWN."""
    code = _CODE_NAMES.get(status.code, "UNKNOWN")
    return _CLASSES.get(code, ClassifyError)(
        status.message or f"the server answered {code}",
        code=code,
        field=_first_field(status.details),
        reason=_reason(status.details),
        retry_after_s=_retry_after_s(status.details),
    )


def no_answer(address: str, timeout_s: float | None) -> DeadlineExceededError:
    """Return the error for a server that kept silent for `timeout_s` seconds."""
    waited = "in time" if timeout_s is None else f"within {round(timeout_s, 2):g} s"
    return DeadlineExceededError(f"{address} did not answer {waited}")


def _cause(message: str) -> str:
    """Return the innermost cause of what gRPC tells in many words."""
    cause = message.rpartition(": ")[2].strip("[] .").lower()
    return _ERRNO.sub("", cause) or "no cause given"


def status_details(error: grpc.RpcError) -> status_pb2.Status | None:
    """Return the google.rpc.Status that a Menagerie server sent with an error; None: none."""
    try:
        # Every error that gRPC raises for a call is also that call, or looks like it.
        status: status_pb2.Status | None = rpc_status.from_call(cast(grpc.Call, error))
    except (DecodeError, ValueError):  # not a Status, or not the status of this call
        return None
    return status


def _first_field(details: Iterable[PackedMessage]) -> str:
    bad = error_details_pb2.BadRequest()
    if _unpack(details, bad) and bad.field_violations:
        return bad.field_violations[0].field
    return ""


def _reason(details: Iterable[PackedMessage]) -> str:
    info = error_details_pb2.ErrorInfo()
    return info.reason if _unpack(details, info) else ""


def _retry_after_s(details: Iterable[PackedMessage]) -> float | None:
    info = error_details_pb2.RetryInfo()
    if not _unpack(details, info) or not info.HasField("retry_delay"):
        return None
    return max(0.0, info.retry_delay.seconds + info.retry_delay.nanos / 1e9)


def _unpack(
    details: Iterable[PackedMessage],
    message: error_details_pb2.BadRequest
    | error_details_pb2.ErrorInfo
    | error_details_pb2.RetryInfo,
) -> bool:
    """Fill `message` from the first detail of its type; tell whether there was one."""
    for detail in details:
        if detail.Is(message.DESCRIPTOR):
            try:
                return detail.Unpack(message)
            except DecodeError:
                return False
    return False
