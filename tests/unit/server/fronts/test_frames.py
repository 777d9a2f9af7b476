"""Frames: what is sent arrives, however the bytes are cut."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.fronts.frames import Frame, FrameProtocol, Kind, encode

frames = st.builds(
    Frame,
    st.sampled_from(Kind),
    st.integers(0, 2**64 - 1),
    st.lists(st.binary(max_size=40), max_size=5).map(tuple),
)


@given(st.lists(frames, max_size=5), st.data())
def test_frames_arrive_as_they_were_sent_however_they_are_cut(sent, data) -> None:
    stream = b"".join(map(encode, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    received: list[Frame] = []
    protocol = FrameProtocol(received.append, lambda: None)
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        protocol.data_received(stream[start:end])
    assert received == sent


def test_a_frame_of_absurd_length_is_refused() -> None:
    protocol = FrameProtocol(lambda _frame: None, lambda: None)
    with pytest.raises(ValueError, match="bytes"):
        protocol.data_received(b"\xff" * 14)


async def test_one_turn_of_the_loop_is_one_write() -> None:
    written: list[bytes] = []

    class Transport(asyncio.Transport):
        def write(self, data: bytes) -> None:
            written.append(data)

    protocol = FrameProtocol(lambda _frame: None, lambda: None)
    protocol.connection_made(Transport())
    sent = [Frame(Kind.CANCEL, number) for number in range(3)]
    for frame in sent:
        protocol.send(frame)
    assert written == []
    await asyncio.sleep(0)
    assert written == [b"".join(map(encode, sent))]
