"""How a start ends: the server listens at these addresses, or cannot start. Knows no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Addresses:
    """Where the server listens: HOST:PORT for gRPC, metrics, and administration if there is any."""

    grpc: str
    metrics: str
    admin: str = ""


class StartError(Exception):
    """The server cannot start; the message says what to mend."""
