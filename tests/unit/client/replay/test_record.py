from io import BytesIO
from pathlib import Path

import pytest
from google.protobuf import proto

from client.errors import ClientError
from client.replay.record import Record, read_record, with_images
from proto.classify.v1 import classify_pb2, record_pb2


def recorded(second: float, *, image: bytes = b"", size: int = 0) -> record_pb2.RecordedRequest:
    one = record_pb2.RecordedRequest(
        request=classify_pb2.ClassifyRequest(top_k=1), image_bytes=size or len(image)
    )
    one.arrival_time.FromNanoseconds(round(second * 1e9))
    one.response.request_id = f"at {second}"
    if image:
        one.request.image.encoded = image
    return one


def write(path: Path, *requests: record_pb2.RecordedRequest) -> bytes:
    content = BytesIO()
    for one in requests:
        proto.serialize_length_prefixed(one, content)
    path.write_bytes(content.getvalue())
    return content.getvalue()


def test_a_folder_is_read_in_order_of_arrival(tmp_path: Path) -> None:
    write(tmp_path / "1.requests", recorded(12.0), recorded(10.5))
    write(tmp_path / "2.requests", recorded(11.0))
    (tmp_path / "notes.txt").write_text("no record")
    record = read_record(tmp_path)
    assert [one.response.request_id for one in record.requests] == ["at 10.5", "at 11.0", "at 12.0"]
    assert record.seconds == pytest.approx(1.5)
    assert record.damaged == ()
    assert len(read_record(tmp_path / "2.requests").requests) == 1


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_what_comes_before_a_torn_end_is_read(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "1.requests"
    content = write(path, recorded(1.0), recorded(2.0, image=b"x" * 300))
    path.write_bytes(content[:-cut])
    record = read_record(tmp_path)
    assert [one.response.request_id for one in record.requests] == ["at 1.0"]
    assert record.damaged == (path,)


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 40])
def test_what_is_no_record_is_told(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "1.requests").write_bytes(content)
    with pytest.raises(ClientError, match="no recorded request"):
        read_record(tmp_path)
    with pytest.raises(ClientError, match="no such file"):
        read_record(tmp_path / "missing.requests")


def test_stand_ins_are_of_about_the_size_and_claim_no_answer() -> None:
    own = recorded(1.0, image=b"own")
    lost = recorded(2.0, size=900)
    record = Record((own, lost))
    assert with_images(record, ()) == ([own], 0)
    (first, second), replaced = with_images(record, (b"s" * 100, b"l" * 1000))
    assert (first, replaced) == (own, 1)
    assert second.request.image.encoded == b"l" * 1000
    assert second.WhichOneof("outcome") is None
    assert not lost.request.HasField("image")
