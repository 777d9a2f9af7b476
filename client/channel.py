"""How the client talks to the server: message sizes, balancing, connecting, retries."""

import json

from client.address import is_loopback
from client.images import MAX_MESSAGE_BYTES
from client.retry import MAX_TOKENS, TOKEN_RATIO

# A server that does not shake hands in this time is taken for absent: a fresh channel to a
# dead machine fails after 2 s rather than gRPC's 20 s.
CONNECT_TIMEOUT_MS = 2000
FIRST_RECONNECT_MS = 100
MAX_RECONNECT_MS = 1000
NAMES_EVERY_MS = 1000

# Only UNAVAILABLE, and only calls of one request: a stream's items carry their own statuses.
# The server's pushback (metadata grpc-retry-pushback-ms, what RetryInfo says) goes before the
# backoff. Throttling ends retries while most calls fail: an outage must not be made worse.
_RETRIED = [
    {"service": "classify.v1.ClassifyService", "method": "Classify"},
    {"service": "classify.v1.ClassifyService", "method": "ClassifyBatch"},
    {"service": "classify.v1.ModelService"},
    {"service": "inference.GRPCInferenceService", "method": "ModelInfer"},
    {"service": "grpc.health.v1.Health", "method": "Check"},
]
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "retryThrottling": {"maxTokens": MAX_TOKENS, "tokenRatio": TOKEN_RATIO},
    "methodConfig": [
        {
            "name": _RETRIED,
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}


def channel_options(address: str) -> list[tuple[str, str | int]]:
    """Return the gRPC channel options for a server at `address`."""
    options: list[tuple[str, str | int]] = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        # gRPC keeps a request for its retry only up to this size, 256 KiB if unset: without
        # it most photographs would never be retried.
        ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
        # Despite its name this bounds one attempt to connect.
        ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_MS),
        ("grpc.initial_reconnect_backoff_ms", FIRST_RECONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_MS),
        # Names are asked for again when a connection ends, at most this often; gRPC's 30 s are
        # longer than a rollout takes to replace every replica.
        ("grpc.dns_min_time_between_resolutions_ms", NAMES_EVERY_MS),
        # A connection of its own: clients that shared one would together exceed its calls.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.primary_user_agent", "menagerie-client"),
    ]
    if is_loopback(address):  # http_proxy in the environment is not meant for this machine
        options.append(("grpc.enable_http_proxy", 0))
    return options
