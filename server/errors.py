"""Why a request is not answered with labels. Knows nothing of gRPC: ``rpc.status`` maps it.

::

    ServingError
    ├── InvalidRequestError    a field of the request is wrong            (the step: rpc)
    ├── NotFoundError          no such model, version or label            (catalog)
    ├── PreconditionError      not in the state that the server is in     (catalog)
    ├── LoadFailedError        a version that was to be loaded failed     (catalog)
    ├── UnknownMethodError     no such method                             (rpc)
    ├── TooManyItemsError      more items in one call than allowed        (rpc)
    ├── UnauthenticatedError   no credentials, or none that is known      (access)
    ├── PermissionDeniedError  the caller may not call this               (access)
    ├── QuotaError             the caller's own rate or concurrency       (access)
    ├── UnavailableError       not now; worth a retry elsewhere or later
    │   ├── QueueFullError     too many requests wait already             (decode, batcher)
    │   ├── DrainingError      the server or the version is going away    (batcher)
    │   ├── GraceExpiredError  the shutdown could not wait any longer     (rpc)
    │   ├── CallLostError      what computed the answer went away         (rpc)
    │   ├── ModelChangedError  the model changed while the image was decoded  (decode)
    │   └── NotReadyError      the version is known but not loaded        (catalog)
    ├── DeadlineExpiredError   the deadline passed before there was an answer  (rpc, batcher)
    ├── EngineMemoryError      the engine has not enough memory           (engine)
    └── EngineError            the engine failed on this item             (engine)
"""


class ServingError(Exception):
    """Root of the errors that end a request. The message is fit for the caller."""


class InvalidRequestError(ServingError):
    """A field of the request is wrong.

    Attributes:
        field: Its path in the request message, for example ``image.encoded``.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


class NotFoundError(ServingError):
    """No such model, version or label.

    Attributes:
        field: The path of the field that named it.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


class PreconditionError(ServingError):
    """It cannot be done in the state that the server is in; waiting does not help."""


class LoadFailedError(ServingError):
    """A version that was to be loaded failed; the message says why."""


class UnknownMethodError(ServingError):
    """There is no such method."""


class TooManyItemsError(ServingError):
    """One call holds more items than allowed."""


class UnauthenticatedError(ServingError):
    """The caller showed no credentials, or none that is known."""


class PermissionDeniedError(ServingError):
    """The caller is known and may not do this."""


class QuotaError(ServingError):
    """The caller has used up what it may ask for; others are served.

    Attributes:
        retry_after_s: When there will be room, in seconds.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(ServingError):
    """Cannot be answered now; the same request may succeed later or elsewhere.

    Attributes:
        retry_after_s: When to come back, in seconds.
    """

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFullError(UnavailableError):
    """Too many requests wait already."""


class DrainingError(UnavailableError):
    """The server or the version is going away: others may be there already."""

    def __init__(self, message: str, retry_after_s: float = 0.1) -> None:
        super().__init__(message, retry_after_s)


class GraceExpiredError(UnavailableError):
    """The server is shutting down and could not wait any longer for the answer."""


class CallLostError(UnavailableError):
    """What computed the answer went away."""


class ModelChangedError(UnavailableError):
    """The model has another input than the image was decoded for."""


class NotReadyError(UnavailableError):
    """The version is known and takes no requests."""


class DeadlineExpiredError(ServingError):
    """The deadline passed before there was an answer: the caller's, or the server's own."""


class EngineMemoryError(ServingError):
    """The engine has not enough memory for this batch."""


class EngineError(ServingError):
    """The engine failed on this item. The message says nothing of its inside."""
