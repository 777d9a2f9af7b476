"""What the record holds, what it leaves out, and how large it grows."""

import threading
from collections import Counter
from pathlib import Path

import pytest
from google.protobuf import proto
from google.rpc import status_pb2

from proto.classify.v1 import classify_pb2, record_pb2
from server.rpc.record import Passed, Recorder, RecordPolicy
from server.rpc.translate import ALL_LABELS, MAX_TOP_K, top_k

IMAGE = bytes(range(256)) * 4
MIB = 2**20


def passed(*, may_keep: bool = True, outcome=None, image: bytes = IMAGE) -> Passed:
    request = classify_pb2.ClassifyRequest(
        image=classify_pb2.Image(encoded=image),
        routing_key="somebody",
        may_keep_image=may_keep,
        top_k=3,
    )
    response = classify_pb2.ClassifyResponse(
        model_name="pets",
        predictions=[classify_pb2.Prediction(id="cat", score=0.75)],
        explanation=classify_pb2.Explanation(overlay_png=b"png"),
    )
    return Passed("Classify", request, outcome or response, len(image), 1234.5, 0.025)


def read(folder: Path) -> list[record_pb2.RecordedRequest]:
    found = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            while (
                one := proto.parse_length_prefixed(record_pb2.RecordedRequest, file)
            ) is not None:
                found.append(one)
    return found


def test_a_request_is_recorded_with_its_time_and_its_answer(tmp_path: Path) -> None:
    outcomes: list[str] = []
    recorder = Recorder(RecordPolicy(tmp_path / "new", 1.0, MIB), outcomes.append)
    recorder.note("a", passed())
    recorder.note("b", passed(may_keep=False))
    recorder.note("c", passed(outcome=status_pb2.Status(code=14, message="full")))
    recorder.close()
    allowed, kept_back, refused = read(tmp_path / "new")
    assert outcomes == ["recorded"] * 3
    assert allowed.arrival_time.ToNanoseconds() == 1_234_500_000_000
    assert (allowed.total_us, allowed.request.top_k) == (25_000, 3)
    assert allowed.request.image.encoded == IMAGE
    assert allowed.response.predictions[0].id == "cat"
    assert not allowed.response.HasField("explanation")
    assert not kept_back.request.HasField("image")
    assert kept_back.image_bytes == len(IMAGE)
    assert {one.request.routing_key for one in (allowed, kept_back, refused)} == {""}
    assert refused.error.code == 14


def test_what_asked_for_all_labels_can_be_asked_again(tmp_path: Path) -> None:
    one = passed()
    one.request.top_k = ALL_LABELS
    recorder = Recorder(RecordPolicy(tmp_path, 1.0, MIB))
    recorder.note("a", one)
    recorder.close()
    (recorded,) = read(tmp_path)
    assert top_k(recorded.request, "Classify") == MAX_TOP_K


def test_the_request_itself_stays_as_it_is(tmp_path: Path) -> None:
    one = passed(may_keep=False)
    recorder = Recorder(RecordPolicy(tmp_path, 1.0, MIB))
    recorder.note("a", one)
    recorder.close()
    assert one.request.image.encoded == IMAGE
    assert one.outcome.HasField("explanation")


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_is_recorded_and_always_the_same_one(tmp_path: Path, share: float) -> None:
    counts = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        recorder = Recorder(RecordPolicy(folder, share, MIB))
        for number in range(400):
            recorder.note(f"request {number}", passed(may_keep=False))
        recorder.close()
        counts.append(len(read(folder)))
    assert counts[0] == counts[1] == pytest.approx(400 * share, abs=40 * (0 < share < 1))


def test_the_oldest_make_room_and_the_budget_outlives_the_process(tmp_path: Path) -> None:
    for life in range(3):
        recorder = Recorder(RecordPolicy(tmp_path, 1.0, MIB))
        for number in range(100):
            recorder.note(str(number), passed(image=bytes([life, number]) + b"x" * 10_000))
        recorder.close()
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= MIB
    images = [one.request.image.encoded[:2] for one in read(tmp_path)]
    assert images[-1] == bytes([2, 99])
    assert images == sorted(images)
    assert 85 <= len(images) < 105  # nearly all of the budget, and none of the first life


def test_what_cannot_be_written_is_counted_and_the_next_one_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[str] = []
    recorder = Recorder(RecordPolicy(tmp_path, 1.0, MIB), outcomes.append)
    real, failures = recorder._segments.append, iter([True])

    def failing_once(content: bytes) -> bool:
        if next(failures, False):
            raise OSError(28, "No space left on device")
        return real(content)

    monkeypatch.setattr(recorder._segments, "append", failing_once)
    recorder.note("a", passed())
    recorder.note("b", passed())
    recorder.close()
    assert outcomes == ["failed", "recorded"]
    assert len(read(tmp_path)) == 1


def test_a_file_that_cannot_be_begun_costs_the_requests_of_that_time_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[str] = []
    recorder = Recorder(RecordPolicy(tmp_path, 1.0, 16 * 2000), outcomes.append)
    begin, failures = recorder._segments._begin, iter([True])

    def failing_once() -> Path:
        if next(failures, False):
            raise OSError(28, "No space left on device")
        return begin()

    monkeypatch.setattr(recorder._segments, "_begin", failing_once)
    for size in (1000, 1500, 10, 1500):  # the second begins a file; the third fits into the first
        recorder.note(str(size), passed(image=b"x" * size))
    recorder.close()
    assert outcomes == ["recorded", "failed", "recorded", "recorded"]
    assert [one.image_bytes for one in read(tmp_path)] == [1000, 10, 1500]


def test_what_is_larger_than_the_budget_is_left_out_and_counted(tmp_path: Path) -> None:
    outcomes: list[str] = []
    recorder = Recorder(RecordPolicy(tmp_path, 1.0, 16 * 2000), outcomes.append)
    for size in (1000, 16 * 2000, 1000):
        recorder.note(str(size), passed(image=b"x" * size))
    recorder.close()
    assert outcomes == ["recorded", "too_large", "recorded"]
    assert [one.image_bytes for one in read(tmp_path)] == [1000, 1000]


def test_what_waits_is_bounded_with_all_that_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = threading.Event(), threading.Event()
    outcomes: list[str] = []
    recorder = Recorder(RecordPolicy(tmp_path, 1.0, 100 * MIB), outcomes.append)
    real = recorder._segments.append

    def slow(content: bytes) -> bool:
        writing.set()
        assert go_on.wait(30)
        return real(content)

    monkeypatch.setattr(recorder._segments, "append", slow)
    explained = classify_pb2.ClassifyResponse(
        explanation=classify_pb2.Explanation(overlay_png=bytes(16 * MIB))
    )
    for number in range(6):  # 64 MiB may wait; what is written has not been let go of yet
        recorder.note(str(number), passed(outcome=explained))
        assert writing.wait(30)
    go_on.set()
    recorder.close()
    assert Counter(outcomes) == {"queue": 3, "recorded": 3}
