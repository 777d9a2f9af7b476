"""HTTP/2 by hand, for what no gRPC client would do."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import h2.config
import h2.connection
import h2.events

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_READ_BYTES = 65_536
_GOAWAY = 7


def endpoint(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


@contextmanager
def connected(address: str, timeout_s: float = 10) -> Iterator[socket.socket]:
    with socket.create_connection(endpoint(address), timeout_s) as connection:
        yield connection


def closes(connection: socket.socket) -> bool:
    """Whether the server ends the connection before the socket's timeout."""
    try:
        while connection.recv(_READ_BYTES):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def goes_away(connection: socket.socket) -> int:
    """The error code of the server's GOAWAY, once it comes (RFC 9113 section 6.8)."""
    with connection.makefile("rb") as stream:
        while header := stream.read(9):
            payload = stream.read(int.from_bytes(header[:3], "big"))
            if header[3] == _GOAWAY:
                return int.from_bytes(payload[4:8], "big")
    raise ConnectionError("closed without a GOAWAY")


class Http2:
    """A connection after its handshake."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        # Checks of what is sent are for those who mean well.
        config = h2.config.H2Configuration(
            client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.state = h2.connection.H2Connection(config)
        self.state.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.state.data_to_send())

    def call(
        self, method: str, *extra: tuple[str, str], authority: str = "localhost", end: bool = False
    ) -> int:
        """Open a stream with a call's headers; returns its number."""
        stream = self.state.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *extra,
        ]
        self.state.send_headers(stream, headers, end_stream=end)
        self.flush()
        return stream

    def message(self, stream: int, payload: bytes, *, compressed: bool = False) -> None:
        """Send one gRPC message and half-close."""
        data = bytes([compressed]) + len(payload).to_bytes(4, "big") + payload
        self.state.send_data(stream, data, end_stream=True)
        self.flush()

    def listen(self) -> None:
        """Read what there is.

        Raises:
            ConnectionError: It is over.
        """
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionError("closed")
        for event in self.state.receive_data(data):
            if isinstance(event, h2.events.ConnectionTerminated):
                raise ConnectionError(f"GOAWAY: {int(event.error_code)}")

    def trailers(self, stream: int) -> dict[str, str]:
        """The headers and trailers of the answer, once it is complete."""
        found: dict[str, str] = {}
        while True:
            for event in self.state.receive_data(self.socket.recv(_READ_BYTES)):
                if isinstance(event, h2.events.ConnectionTerminated):
                    raise ConnectionError(f"GOAWAY: {int(event.error_code)}")
                if getattr(event, "stream_id", None) != stream:
                    continue
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    found.update((str(_text(k)), str(_text(v))) for k, v in event.headers)
                if isinstance(event, h2.events.StreamReset):
                    found.setdefault("reset", str(event.error_code))
                if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                    return found
            self.flush()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
