"""The one place where this package's errors become HTTP answers.

The numbers are those that google.rpc.Code names for each code
(https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto).
"""

import math
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Scope

from client.cli.json_lines import Json, error_object
from client.errors import ClassifyError, ClientError

_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "CANCELLED": 499,  # nginx's "client closed request"; no standard one exists
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_CODES_OF_HTTP = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    413: "RESOURCE_EXHAUSTED",
    415: "INVALID_ARGUMENT",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}


class GatewayError(ClientError):
    """The gateway itself refuses a request.

    Attributes:
        status: The HTTP status.
        retry_after_s: When to come back, in seconds, if that helps.
    """

    def __init__(
        self, status: int, message: str, *, reason: str, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message, code=_CODES_OF_HTTP[status], reason=reason)
        self.status = status
        self.retry_after_s = retry_after_s


def http_status(error: ClientError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, GatewayError):
        return error.status
    if error.code == "RESOURCE_EXHAUSTED":
        # A quota says when to come back; what is too large stays too large.
        return 413 if _retry_after_s(error) is None else 429
    return _STATUSES.get(error.code, 500)


def error_answer(error: ClientError, scope: Scope) -> JSONResponse:
    """Return the answer for an error, with Retry-After where the server named a delay."""
    retry_after_s = _retry_after_s(error)
    headers = {} if retry_after_s is None else {"Retry-After": str(math.ceil(retry_after_s))}
    if isinstance(error, GatewayError):
        headers["Connection"] = "close"  # else the server would go on reading what is refused
    return JSONResponse(_told(error_object(error), scope), http_status(error), headers)


async def on_client_error(request: Request, error: Exception) -> JSONResponse:
    """Answer for an error of the client or of the gateway."""
    assert isinstance(error, ClientError)  # noqa: S101 (what this is registered for)
    return error_answer(error, request.scope)


async def on_http_error(request: Request, error: Exception) -> JSONResponse:
    """Answer for what Starlette refuses by itself: no such path, wrong method, bad form."""
    assert isinstance(error, HTTPException)  # noqa: S101 (what this is registered for)
    code = _CODES_OF_HTTP.get(error.status_code, "UNKNOWN")
    message = error.detail or HTTPStatus(error.status_code).phrase
    told: dict[str, Json] = {"code": code, "message": message, "reason": "HTTP"}
    return JSONResponse(_told(told, request.scope), error.status_code, error.headers)


async def on_bug(request: Request, _error: Exception) -> JSONResponse:
    """Answer for what nobody foresaw; the log has the traceback."""
    told: dict[str, Json] = {
        "code": "INTERNAL",
        "message": "internal error; the gateway's log has it",
    }
    return JSONResponse(_told(told, request.scope), 500)


def _told(error: dict[str, Json], scope: Scope) -> dict[str, Json]:
    """``{"error": {code, message, reason, field, retry_after_s}}``, what is unknown left out;
    below /v2 its protocol wants the message alone."""
    path: str = scope.get("path", "")
    return {"error": error["message"] if f"{path}/".startswith("/v2/") else {**error}}


def _retry_after_s(error: ClientError) -> float | None:
    if isinstance(error, ClassifyError | GatewayError):
        return error.retry_after_s
    return None
