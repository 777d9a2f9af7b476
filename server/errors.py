"""Why a request is not answered with labels. Knows nothing of gRPC: ``rpc.status`` maps it.

::

    ServingError
    ├── InvalidRequestError    a field of the request is wrong            (the step: rpc)
    ├── NotFoundError          no such model, version or label            (catalog)
    ├── TooManyItemsError      more items in one call than allowed        (rpc)
    ├── UnavailableError       not now; worth a retry elsewhere or later
    │   ├── QueueFullError     too many requests wait already             (decode, batcher)
    │   ├── DrainingError      the server or the version is going away    (batcher)
    │   └── NotReadyError      the version is known but not loaded        (catalog)
    ├── DeadlineExpiredError   the caller's deadline passed in the queue  (batcher)
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


class TooManyItemsError(ServingError):
    """One call holds more items than allowed."""


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
    """The server or the version is going away."""


class NotReadyError(UnavailableError):
    """The version is known and takes no requests."""


class DeadlineExpiredError(ServingError):
    """The caller's deadline passed before the request reached the engine."""


class EngineError(ServingError):
    """The engine failed on this item. The message says nothing of its inside."""
