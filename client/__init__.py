"""The client of Menagerie: classify images over gRPC.

    from client import Client

    with Client("127.0.0.1:50051") as client:
        print(client.classify(Path("cat.jpg")).predictions[0])

The names below are loaded when they are first used, so that importing this package costs
nothing. It needs ``proto`` and gRPC; neither torch nor the server.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client.aio import AsyncClient
    from client.credentials import Credentials
    from client.errors import (
        AddressError,
        CallCancelledError,
        ClassifyError,
        ClientError,
        CredentialsError,
        DeadlineExceededError,
        ImageFileError,
        InternalError,
        InvalidArgumentError,
        NotFoundError,
        PermissionDeniedError,
        ResourceExhaustedError,
        ServerUnavailableError,
        UnauthenticatedError,
        UnavailableError,
        UnimplementedError,
    )
    from client.health import HealthStatus
    from client.results import (
        Classification,
        Explanation,
        ModelInfo,
        Novelty,
        Outcome,
        Prediction,
        PredictionSet,
        Timings,
    )
    from client.sdk import Client

__all__ = [
    "AddressError",
    "AsyncClient",
    "CallCancelledError",
    "Classification",
    "ClassifyError",
    "Client",
    "ClientError",
    "Credentials",
    "CredentialsError",
    "DeadlineExceededError",
    "Explanation",
    "HealthStatus",
    "ImageFileError",
    "InternalError",
    "InvalidArgumentError",
    "ModelInfo",
    "NotFoundError",
    "Novelty",
    "Outcome",
    "PermissionDeniedError",
    "Prediction",
    "PredictionSet",
    "ResourceExhaustedError",
    "ServerUnavailableError",
    "Timings",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
]

_ERRORS = tuple(name for name in __all__ if name.endswith("Error"))
_RESULTS = (
    "Classification",
    "Explanation",
    "ModelInfo",
    "Novelty",
    "Outcome",
    "Prediction",
    "PredictionSet",
    "Timings",
)
_HOMES = {
    "AsyncClient": "client.aio",
    "Client": "client.sdk",
    "Credentials": "client.credentials",
    "HealthStatus": "client.health",
    **dict.fromkeys(_ERRORS, "client.errors"),
    **dict.fromkeys(_RESULTS, "client.results"),
}

if not TYPE_CHECKING:  # a type checker would take it for a promise that any name exists

    def __getattr__(name: str) -> object:
        """Load a public name from the module that defines it."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)
