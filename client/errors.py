"""Why an image has no classification. Knows nothing of gRPC: ``client.status`` translates.

::

    ClientError                          code, message, reason
    ├── AddressError                     the server's address is not HOST:PORT (also a ValueError)
    ├── CredentialsError                 a certificate or token cannot be used; nothing was sent
    ├── ImageFileError                   the image cannot be read or is too large; nothing was sent
    ├── GatewayError                     of client.web: the HTTP gateway itself refuses a request
    └── ClassifyError                    the call failed: also field, retry_after_s
        ├── InvalidArgumentError         INVALID_ARGUMENT: `field` is wrong, the image included
        ├── NotFoundError                NOT_FOUND: no such model, version or label
        ├── ResourceExhaustedError       RESOURCE_EXHAUSTED: too large, too many, over a quota
        ├── UnauthenticatedError         UNAUTHENTICATED: the server does not know the caller
        ├── PermissionDeniedError        PERMISSION_DENIED: the caller may not do this
        ├── UnimplementedError           UNIMPLEMENTED: no Menagerie server, or an older one
        ├── CallCancelledError           CANCELLED: the call was given up, for example by close()
        ├── DeadlineExceededError        DEADLINE_EXCEEDED: no answer in time
        ├── InternalError                INTERNAL, UNKNOWN, DATA_LOSS: the server failed
        └── UnavailableError             UNAVAILABLE: busy, draining or loading; worth a retry
            └── ServerUnavailableError   no server was reached at `address`
"""


class ClientError(Exception):
    """Root of the errors of this package.

    Attributes:
        code: The name of a gRPC status code, for errors found on this side too, so that
            callers deal with one vocabulary. For example ``INVALID_ARGUMENT``.
        message: One sentence for people.
        reason: What went wrong in the words of a machine, for example ``QUEUE_FULL``;
            empty when the server gave none.
    """

    code = "UNKNOWN"

    def __init__(self, message: str, *, code: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.reason = reason


class AddressError(ClientError, ValueError):
    """The server's address is not HOST:PORT."""

    code = "INVALID_ARGUMENT"


class CredentialsError(ClientError):
    """A certificate, key or token cannot be read or used; nothing was sent."""

    code = "UNAUTHENTICATED"


class ImageFileError(ClientError):
    """The image cannot be read or is too large; nothing was sent.

    Attributes:
        path: The file, as the caller named it; empty for an image given as bytes.
    """

    code = "INVALID_ARGUMENT"

    def __init__(self, message: str, *, code: str = "", reason: str = "", path: str = "") -> None:
        super().__init__(message, code=code, reason=reason)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ClassifyError(ClientError):
    """The call failed.

    Attributes:
        field: The path of the field that is wrong, for example ``top_k``; empty if none is.
        retry_after_s: When the server asks to come back, in seconds; None if it does not.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        reason: str = "",
        field: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code, reason=reason)
        self.field = field
        self.retry_after_s = retry_after_s


class InvalidArgumentError(ClassifyError):
    """A field of the request is wrong; the image is one of them."""

    code = "INVALID_ARGUMENT"


class NotFoundError(ClassifyError):
    """The server has no such model, version or label."""

    code = "NOT_FOUND"


class ResourceExhaustedError(ClassifyError):
    """The request is larger than allowed, or the caller used up a quota."""

    code = "RESOURCE_EXHAUSTED"


class UnauthenticatedError(ClassifyError):
    """The server does not know the caller."""

    code = "UNAUTHENTICATED"


class PermissionDeniedError(ClassifyError):
    """The caller may not do this."""

    code = "PERMISSION_DENIED"


class UnimplementedError(ClassifyError):
    """The server does not know the method: no Menagerie server, or an older one."""

    code = "UNIMPLEMENTED"


class CallCancelledError(ClassifyError):
    """The call was given up, for example because the client was closed."""

    code = "CANCELLED"


class DeadlineExceededError(ClassifyError):
    """No answer came in time."""

    code = "DEADLINE_EXCEEDED"


class InternalError(ClassifyError):
    """The server failed, or broke the contract."""

    code = "INTERNAL"


class UnavailableError(ClassifyError):
    """The server cannot answer now: busy, draining or loading. Worth a retry."""

    code = "UNAVAILABLE"


class ServerUnavailableError(UnavailableError):
    """No server was reached, or the connection to it was lost.

    Attributes:
        address: Where the server was looked for, HOST:PORT.
    """

    def __init__(self, message: str, *, address: str = "") -> None:
        super().__init__(message)
        self.address = address
