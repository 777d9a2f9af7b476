"""Messages between a front and the engine, over a Unix socket.

A frame is its length, its kind, the call it belongs to, and some blobs of bytes. What a turn of
the event loop sends goes out in one write.
"""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

_HEADER = struct.Struct("<IBQB")  # bytes that follow it, kind, call, blobs
_LENGTH = struct.Struct("<I")
_LARGEST = 2**31


class Kind(IntEnum):
    """What a frame is about."""

    HELLO = 1  # front: where its slots lie
    STATE = 2  # engine: whether it serves
    SPEC = 3  # front: which input a model has; engine: that
    CLASSIFY = 4  # front: a request whose image is decoded
    CALL = 5  # front: a call of another method, as it came
    CANCEL = 6  # front: nobody waits for the call any more
    REFUSED = 7  # front: a request could not be read; to be counted
    ANSWER = 8  # engine: a message
    STATUS = 9  # engine: a google.rpc.Status
    STALE = 10  # engine: the version that is to answer has another input
    ADMIT = 11  # front: a request, before its image is decoded; engine: an empty ANSWER, or STATUS


@dataclass(frozen=True)
class Frame:
    """One message.

    Attributes:
        kind: What it is about.
        call: The front's number for the call it belongs to; 0: none.
        blobs: What it carries.
    """

    kind: Kind
    call: int = 0
    blobs: tuple[bytes, ...] = ()


def encode(frame: Frame) -> bytes:
    """The frame's bytes."""
    parts = [part for blob in frame.blobs for part in (_LENGTH.pack(len(blob)), blob)]
    size = sum(map(len, parts))
    return b"".join((_HEADER.pack(size, frame.kind, frame.call, len(frame.blobs)), *parts))


class FrameProtocol(asyncio.Protocol):
    """Sends frames and hands over those that arrive.

    Args:
        on_frame: Called with each frame.
        on_lost: Called once, when the other side has gone.
    """

    def __init__(self, on_frame: Callable[[Frame], None], on_lost: Callable[[], None]) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._received = bytearray()
        self._outbox: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio's protocol."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a stream socket
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Part of asyncio's protocol."""
        self._received += data
        start = 0
        while (end := self._end_of_frame(start)) is not None:
            self._on_frame(_decode(bytes(self._received[start:end])))
            start = end
        del self._received[:start]

    def connection_lost(self, _error: Exception | None) -> None:
        """Part of asyncio's protocol."""
        self._transport = None
        self._on_lost()

    def send(self, frame: Frame) -> None:
        """Send a frame with this turn of the event loop; dropped when the other side has gone."""
        if self._transport is None:
            return
        if not self._outbox:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outbox.append(encode(frame))

    def close(self) -> None:
        """Send what was given and hang up."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        if self._transport is not None and self._outbox:
            self._transport.write(b"".join(self._outbox))
        self._outbox.clear()

    def _end_of_frame(self, start: int) -> int | None:
        """Where the frame that begins at ``start`` ends, if all of it has arrived."""
        if len(self._received) < start + _HEADER.size:
            return None
        size = int(_HEADER.unpack_from(self._received, start)[0])
        if size > _LARGEST:
            raise ValueError(f"a frame of {size} bytes")
        end = start + _HEADER.size + size
        return end if len(self._received) >= end else None


def _decode(data: bytes) -> Frame:
    _, kind, call, count = _HEADER.unpack_from(data)
    blobs, position = [], _HEADER.size
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        blobs.append(data[position : position + length])
        position += length
    return Frame(Kind(kind), call, tuple(blobs))
