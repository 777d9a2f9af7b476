"""What a connection may do: sizes, counts and signs of life, as options of gRPC's core.

The names are those of grpc/impl/channel_arg_names.h.
"""

from dataclasses import dataclass

# A peer that does not answer a ping in this time has gone.
_KEEPALIVE_TIMEOUT_MS = 20_000
# The SDK pings nobody; other clients may once in this time. Three strikes close the connection.
_LEAST_PING_INTERVAL_MS = 10_000
_PING_STRIKES = 2
_HANDSHAKE_TIMEOUT_MS = 10_000
# Calls that are under way when a connection has reached its age may take this long.
_AGE_GRACE_MS = 60_000
_NEVER_MS = 2**31 - 1
# Calls that the event loop has not seen yet. Beyond 1000, unless told otherwise, gRPC ends some of
# everybody's with CANCELLED, at random (src/core/server/server.cc). So many are ten seconds' worth.
_MOST_PENDING = 2**16


@dataclass(frozen=True)
class ConnectionLimits:
    """What connections may do.

    Attributes:
        max_message_bytes: Of a request or an answer, decompressed.
        max_metadata_bytes: Of all metadata of a call.
        max_connections: At the same time.
        max_calls: Of one connection at the same time; more wait at the client.
        max_age_s: After which clients are asked to connect anew; 0: never.
        keepalive_s: Silence after which the server pings, in seconds.
    """

    max_message_bytes: int
    max_metadata_bytes: int
    max_connections: int
    max_calls: int
    max_age_s: float
    keepalive_s: float


def server_options(limits: ConnectionLimits) -> list[tuple[str, int]]:
    """The options of a server that holds its clients to ``limits``."""
    return [
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", limits.max_message_bytes),
        # The same for both: between a soft and a hard limit calls would fail at random.
        ("grpc.max_metadata_size", limits.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.max_metadata_bytes),
        ("grpc.max_allowed_incoming_connections", limits.max_connections),
        ("grpc.max_concurrent_streams", limits.max_calls),
        ("grpc.server.max_pending_requests", _MOST_PENDING),
        ("grpc.server.max_pending_requests_hard_limit", _MOST_PENDING),
        ("grpc.max_connection_age_ms", _milliseconds(limits.max_age_s) or _NEVER_MS),
        ("grpc.max_connection_age_grace_ms", _AGE_GRACE_MS),
        ("grpc.keepalive_time_ms", _milliseconds(limits.keepalive_s)),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_INTERVAL_MS),
        ("grpc.http2.max_ping_strikes", _PING_STRIKES),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_TIMEOUT_MS),
    ]


def _milliseconds(seconds: float) -> int:
    return min(round(seconds * 1000), _NEVER_MS)
