import pytest
from google.rpc import status_pb2

from client.replay import compare
from client.replay.run import Replayed, Reply
from proto.classify.v1 import classify_pb2, record_pb2


def answer(label: str, score: float, version: str = "1") -> classify_pb2.ClassifyResponse:
    return classify_pb2.ClassifyResponse(
        request_id=f"was {label}",
        model_name="pets",
        model_version=version,
        predictions=[classify_pb2.Prediction(id=label, score=score)],
        timings=classify_pb2.Timings(total_us=2000),
    )


def replayed(before, *now) -> Replayed:
    one = record_pb2.RecordedRequest(total_us=4000)
    if isinstance(before, status_pb2.Status):
        one.error.CopyFrom(before)
    elif before is not None:
        one.response.CopyFrom(before)
    replies = tuple(
        Reply(each, None, 9.0) if isinstance(each, str) else Reply("OK", each, 0.01) for each in now
    )
    return Replayed(one, replies, 0.0)


CASES = [
    replayed(answer("cat", 0.75), answer("cat", 0.5, "2")),
    replayed(answer("cat", 0.5), answer("cat", 0.5, "2")),
    replayed(answer("cat", 0.6), answer("dog", 0.7, "2")),
    replayed(answer("dog", 0.6), answer("cat", 0.9, "2")),
    replayed(answer("cat", 0.9), "UNAVAILABLE"),
    replayed(status_pb2.Status(code=4), answer("dog", 0.9, "2")),
    replayed(None, answer("dog", 0.9, "2")),  # a stand-in
]


def test_labels_and_scores_are_compared_where_both_answered() -> None:
    found = compare.against_record(CASES)
    assert (found.both, found.same) == (4, 2)
    assert [(one.before[0], one.now[0]) for one in found.changes] == [
        ("dog", "cat"),
        ("cat", "dog"),
    ]
    assert found.changes[0].request_id == "was dog"
    assert found.mean_difference == pytest.approx(0.125)
    assert found.largest_difference == pytest.approx(0.25)


def test_the_second_side_is_the_reference_where_there_is_one() -> None:
    found = compare.against_side([replayed(None, answer("cat", 0.9), answer("dog", 0.8))])
    assert (found.both, found.same) == (1, 0)
    assert found.changes[0].before == ("dog", pytest.approx(0.8))


def test_each_side_has_its_outcomes_and_latencies() -> None:
    then, now = compare.of_record(CASES), compare.of_side(CASES, 0)
    assert then.statuses == {"OK": 5, "DEADLINE_EXCEEDED": 1}
    assert (then.versions, then.latency_ms) == ({"pets 1": 5}, {})
    assert then.server_ms == {50.0: 4.0, 90.0: 4.0, 99.0: 4.0}
    assert now.statuses == {"OK": 6, "UNAVAILABLE": 1}
    assert now.versions == {"pets 2": 6}
    assert now.latency_ms == {50.0: 10.0, 90.0: 10.0, 99.0: 10.0}  # not the refused one's 9 s
    assert now.server_ms[50.0] == 2.0


def test_percentiles_are_values_that_occurred() -> None:
    assert compare.percentiles_ms([]) == {}
    assert compare.percentiles_ms([number / 1000 for number in range(1, 101)]) == {
        50.0: 51.0,
        90.0: 91.0,
        99.0: 100.0,
    }
