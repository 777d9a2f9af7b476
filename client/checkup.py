"""Examines the way to a server and the server, step by step, and says what mends it.

Each check yields findings; one that fails for good ends those that build on it::

    connection -> TLS -> health -> models -> answer -> parity, limits, time
"""

import socket
import statistics
import struct
import time
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Literal

from client.counting import counted
from client.credentials import Credentials
from client.errors import ClientError, ResourceExhaustedError, ServerUnavailableError
from client.handshake import REACH_S, HandshakeError, shake_hands, speaks_tls
from client.health import OVERALL, SERVICES, HealthStatus
from client.pixels import Pixels
from client.results import Classification, ModelInfo
from client.sdk import Client

Verdict = Literal["ok", "warning", "problem"]

_DAYS_TO_RENEW = 14
_SIDE = 64
# bfloat16 has three digits; raw and encoded pixels are the same up to that.
_SAME_SCORE = 0.02
_SUM_TOLERANCE = 0.01
_MOST_LABELS = 1000
# gRPC's own limit is 4 MiB; photographs are larger.
_PHOTO_BYTES = 8 * 2**20
_CALLS = 5
_SLOW_NETWORK_MS = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        check: Its name.
        verdict: "problem": photos are not answered, or wrongly.
        message: What was found.
        remedy: What mends it; empty where nothing needs mending.
    """

    check: str
    verdict: Verdict
    message: str
    remedy: str = ""


class _StopError(Exception):
    """What follows makes no sense."""


def examine(client: Client, credentials: Credentials) -> Iterator[Finding]:
    """Yield the findings on the server of `client`; `credentials` are those it was made with."""
    try:
        yield from _connection(client.address, credentials.resolved())
        yield from _health(client)
        models = yield from _models(client)
        answer = yield from _answer(client, models)
        yield from _parity(client, answer)
        yield from _limit(client)
        yield from _time(client)
    except _StopError:
        return


def _connection(address: str, credentials: Credentials) -> Iterator[Finding]:
    host, port = _host_and_port(address)
    try:
        with socket.create_connection((host, port), REACH_S):
            yield Finding("connection", "ok", f"{address} takes connections")
    except socket.gaierror:
        yield Finding(
            "connection", "problem", f"the name {host} is unknown", "check its spelling and DNS"
        )
        raise _StopError from None
    except OSError as error:
        yield Finding(
            "connection",
            "problem",
            f"{address} cannot be reached: {(error.strerror or str(error)).lower()}",
            "start the server (make serve), or check address, firewall and port forwarding",
        )
        raise _StopError from None
    tls = speaks_tls(host, port)
    if tls and not credentials.uses_tls:
        yield Finding(
            "TLS",
            "problem",
            "the server speaks TLS, this client does not",
            "--tls, or --tls-ca PEM",
        )
        raise _StopError
    if credentials.uses_tls and not tls:
        yield Finding("TLS", "problem", "this client speaks TLS, the server does not", "--no-tls")
        raise _StopError
    if tls:
        yield from _certificates(host, port, credentials)
    else:
        yield Finding("TLS", "ok", "not used by either side")


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _certificates(host: str, port: int, credentials: Credentials) -> Iterator[Finding]:
    """Tell whether both sides accept each other's certificates."""
    try:
        peer = shake_hands(host, port, credentials)
    except HandshakeError as error:
        yield Finding("TLS", "problem", str(error), error.remedy)
        raise _StopError from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        yield Finding("TLS", "problem", f"the handshake breaks: {reason}", "see the server's log")
        raise _StopError from None
    if peer.days_left < _DAYS_TO_RENEW:
        yield Finding(
            "TLS",
            "warning",
            f"the server's certificate expires in {counted(round(peer.days_left), 'day')}",
            "replace its files: the server reads them anew, without a restart",
        )
        return
    yield Finding("TLS", "ok", f"both sides use it; the server is {', '.join(peer.names)}")


def _health(client: Client) -> Iterator[Finding]:
    try:
        statuses = {service: client.health(service) for service in (OVERALL, *SERVICES)}
    except ServerUnavailableError as error:
        yield Finding(
            "health",
            "problem",
            error.message,
            "something else may listen there, or a proxy that does not know gRPC",
        )
        raise _StopError from None
    except ClientError as error:
        yield _failed("health", error)
        raise _StopError from None
    idle = [name or "the server" for name, s in statuses.items() if s is HealthStatus.NOT_SERVING]
    if idle:
        yield Finding(
            "health",
            "problem",
            f"{', '.join(idle)}: NOT_SERVING",
            "wait (health --wait 60); the server's log tells what it waits for",
        )
        raise _StopError
    yield Finding("health", "ok", "SERVING")


def _models(client: Client) -> Generator[Finding, None, list[ModelInfo]]:
    try:
        models = client.models()
    except ClientError as error:
        yield _failed("models", error)
        raise _StopError from None
    for model in models:
        if model.state == "FAILED":
            yield Finding(
                "models",
                "warning",
                f"{model.name} {model.version} FAILED: {model.state_reason}",
                "publish it again, or take it out of the repository",
            )
        ids = [label.id for label in model.labels]
        if len(set(ids)) != len(ids):
            yield Finding(
                "models",
                "problem",
                f"{model.name} {model.version} has a label twice",
                "publish it anew",
            )
    ready = [model for model in models if model.state == "READY"]
    if not ready:
        yield Finding("models", "problem", "no model is READY", "see the server's log")
        raise _StopError
    names = ", ".join(f"{model.name} {model.version}" for model in ready)
    yield Finding("models", "ok", f"READY: {names}")
    return ready


def _answer(client: Client, models: list[ModelInfo]) -> Generator[Finding, None, Classification]:
    """Ask of the default model about a picture made here."""
    try:
        answer = client.classify(_png(_picture()), top_k=_MOST_LABELS)
    except ClientError as error:
        yield _failed("answer", error)
        raise _StopError from None
    key = (answer.model, answer.version)
    labels = {one.id for m in models if (m.name, m.version) == key for one in m.labels}
    found = [p.id for p in answer.predictions]
    total = sum(p.score for p in answer.predictions)
    if labels and not set(found) <= labels:
        strange = sorted(set(found) - labels)[0]
        yield Finding(
            "answer", "problem", f"the label {strange!r} is none of the model's", "publish it anew"
        )
    elif len(found) == len(labels) and abs(total - 1) > _SUM_TOLERANCE:
        yield Finding(
            "answer", "problem", f"the scores add up to {total:.3f}, not to 1", "publish it anew"
        )
    else:
        yield Finding(
            "answer", "ok", f"{answer.model} {answer.version} knows {counted(len(labels), 'label')}"
        )
    return answer


def _parity(client: Client, encoded: Classification) -> Iterator[Finding]:
    """Encoded and raw pixels must mean the same."""
    try:
        raw = client.classify(_picture(), top_k=_MOST_LABELS)
    except ClientError as error:
        yield _failed("parity", error)
        return
    scores = {p.id: p.score for p in raw.predictions}
    apart = max((abs(p.score - scores.get(p.id, 0)) for p in encoded.predictions), default=0.0)
    if apart > _SAME_SCORE:
        yield Finding(
            "parity",
            "problem",
            f"a PNG file and its pixels differ by {apart:.3f} in a score",
            "replicas may serve different versions, or the server is not a Menagerie server",
        )
    else:
        yield Finding("parity", "ok", "a PNG file and its pixels have the same scores")


def _limit(client: Client) -> Iterator[Finding]:
    """Send what begins like a photo and is as large as one; the server refuses it unread."""
    large = _png(_picture())[:-12].ljust(_PHOTO_BYTES, b"\0")
    mib = _PHOTO_BYTES // 2**20
    try:
        client.classify(large)
    except ResourceExhaustedError as error:
        yield Finding(
            "message size",
            "warning",
            f"a photo of {mib} MiB is too large: {error.message}",
            "raise max_message_bytes of the server and the limits of proxies between",
        )
    except ClientError as error:
        if error.code != "INVALID_ARGUMENT":
            yield _failed("message size", error)
            return
        yield Finding("message size", "ok", f"photos of {mib} MiB arrive")
    else:
        yield Finding("message size", "ok", f"photos of {mib} MiB arrive")


def _time(client: Client) -> Iterator[Finding]:
    picture, network_ms, server_ms = _png(_picture()), [], []
    try:
        for _ in range(_CALLS):
            start_s = time.monotonic()
            answer = client.classify(picture)
            in_server = answer.timings.total_us / 1000
            server_ms.append(in_server)
            network_ms.append((time.monotonic() - start_s) * 1000 - in_server)
    except ClientError as error:
        yield _failed("time", error)
        return
    way, work = statistics.median(network_ms), statistics.median(server_ms)
    slow = way > _SLOW_NETWORK_MS
    yield Finding(
        "time",
        "warning" if slow else "ok",
        f"{work:.1f} ms in the server, {way:.1f} ms on the way (medians of {_CALLS} calls)",
        "the network is slow: classify closer to the photos" if slow else "",
    )


_REMEDIES = {
    "UNAUTHENTICATED": "give a token with --token-file, or a certificate with --tls-cert",
    "PERMISSION_DENIED": "ask the operator for the scope",
    "UNIMPLEMENTED": "something else than a Menagerie server listens there",
    "UNAVAILABLE": "the server is busy or loading: try again",
    "DEADLINE_EXCEEDED": "the server is busy, or --timeout too short",
    "RESOURCE_EXHAUSTED": "a quota is used up: try again later",
}


def _failed(check: str, error: ClientError) -> Finding:
    return Finding(
        check, "problem", error.message, _REMEDIES.get(error.code, "see the server's log")
    )


def _picture() -> Pixels:
    """Return a gradient: every channel and both directions differ."""
    rows = [
        bytes(value for x in range(_SIDE) for value in (x * 4, y * 4, (x + y) * 2))
        for y in range(_SIDE)
    ]
    return Pixels(_SIDE, _SIDE, b"".join(rows))


def _png(pixels: Pixels) -> bytes:
    """Encode as PNG (https://www.w3.org/TR/png-3/): 8-bit RGB, no filter."""
    stride = pixels.width * 3
    rows = (pixels.data[start : start + stride] for start in range(0, len(pixels.data), stride))
    header = struct.pack(">IIBBBBB", pixels.width, pixels.height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + check
