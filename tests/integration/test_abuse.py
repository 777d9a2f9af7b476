"""Hostile connections are closed, and good clients are served meanwhile."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import h2.errors
import pytest

from client import AsyncClient, Client
from tests.artifacts import publish_tiny_artifact
from tests.integration.conftest import Server, run_server
from tests.integration.http2 import PREFACE, Http2, closes, connected
from tests.load.attacks import ATTACKS, Attack, frame
from tests.unit.models import images

REQUESTS = 40
CROWD = 1500
CONNECTIONS = 4  # of as many calls as one may have: more than gRPC's core lets wait by itself
MAX_RSS_GROWTH_KIB = 50 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    publish_tiny_artifact(root)
    queue_limit = str(CONNECTIONS * CROWD)
    with run_server(
        "--repository", str(root), "--lame-duck-s", "0", "--queue-limit", queue_limit
    ) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def silent(server: Server) -> Iterator[socket.socket]:
    """Connected before the first test, since to lose patience takes the server ten seconds."""
    with connected(server.grpc, timeout_s=25) as connection:
        connection.sendall(PREFACE[:5])
        yield connection


@pytest.fixture(scope="module")
def photo() -> bytes:
    return images.encode(images.Image.new("RGB", (40, 30), (20, 220, 20)), "PNG")


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_good_clients_are_served_during(server: Server, photo: bytes, attack: Attack) -> None:
    with Client(server.grpc) as client:
        client.classify(photo)
        before = resources(server)
        stop = threading.Event()
        attackers = [threading.Thread(target=attack, args=(server.grpc, stop)) for _ in range(2)]
        for attacker in attackers:
            attacker.start()
        try:
            for _ in range(REQUESTS):
                assert client.classify(photo, timeout_s=20).predictions[0].id == "green"
        finally:
            stop.set()
            for attacker in attackers:
                attacker.join()
        assert client.classify(photo).predictions[0].id == "green"
    assert server.process.poll() is None
    assert resources(server) - before < MAX_RSS_GROWTH_KIB


async def test_a_crowd_of_calls_on_one_fresh_connection_is_answered(
    server: Server, photo: bytes
) -> None:
    async with AsyncClient(server.grpc, timeout_s=100) as client:
        answers = await asyncio.gather(*(client.classify(photo) for _ in range(CROWD)))
    assert len(answers) == CROWD


async def test_a_crowd_of_fresh_connections_is_answered(server: Server, photo: bytes) -> None:
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(AsyncClient(server.grpc, timeout_s=100))
            for _ in range(CONNECTIONS)
        ]
        crowd = (client.classify(photo) for _ in range(CROWD) for client in clients)
        answers = await asyncio.gather(*crowd)
    assert len(answers) == CONNECTIONS * CROWD


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),  # TLS on a plain port
        bytes(range(256)) * 16,
        PREFACE + frame(4, 0, 0) + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(1000),
        PREFACE + frame(4, 0, 0) + frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff\xff"),
        PREFACE + frame(4, 0, 0, b"\0\4\xff\xff\xff\xff"),  # a window beyond 2^31
        PREFACE + frame(8, 0, 0, bytes(4)),  # a window that grows by nothing
    ],
    ids=["HTTP/1.1", "TLS", "noise", "frame", "HPACK", "window", "credit"],
)
def test_who_breaks_the_protocol_is_closed(server: Server, sent: bytes) -> None:
    with connected(server.grpc) as connection:
        connection.sendall(sent)
        assert closes(connection)


def test_who_does_not_shake_hands_is_closed(silent: socket.socket) -> None:
    assert closes(silent)


def test_who_pings_too_often_is_told_to_calm_down(server: Server) -> None:
    with connected(server.grpc) as connection:
        client = Http2(connection)
        calm_down = f"GOAWAY: {int(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)}"
        with pytest.raises(ConnectionError, match=calm_down):
            ping_until_closed(client)


def ping_until_closed(client: Http2) -> None:
    for _ in range(200):
        client.state.ping(bytes(8))
        client.flush()
        client.listen()


def resources(server: Server) -> int:
    """Resident memory, KiB."""
    with Path(f"/proc/{server.process.pid}/status").open(encoding="ascii") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1])
