import json

import pytest

from proto.classify.v1 import model_pb2
from tests.unit.client.test_cli_models_and_health import pets

CAPACITY = model_pb2.Capacity(
    batch_times=[
        model_pb2.BatchTime(batch_size=1, seconds=0.01),
        model_pb2.BatchTime(batch_size=16, seconds=0.04),
    ],
    lanes=2,
    max_batch_size=16,
    device="cpu",
    decode_seconds=0.002,
    decoders=2,
)


@pytest.fixture
def planned(server, cli):
    server.models = [pets(state=model_pb2.MODEL_STATE_READY, engine="compiled", capacity=CAPACITY)]
    return lambda *arguments: cli("plan", *arguments, "--server", server.address)


def test_the_arithmetic_is_shown(server, planned):
    result = planned("--rps", "5000", "--p99", "100ms")
    assert result.code == 0
    lines = [line.strip() for line in result.out.splitlines()]
    assert lines[0] == f"15 replicas of pets 3 like {server.address}:"
    assert lines[1] == "each: cpu, compiled, 2 lanes, 2 decoders, batches of up to 16"
    assert lines[2] == "engine: batches of 1 in 10.0 ms, of 16 in 40.0 ms, at most 800 images/s"
    assert lines[3] == (
        "decoding: 2.0 ms an image, at most 1,000/s, on the same cores: 444 images/s in all"
    )
    assert lines[4] == "5,000 / 15 = 333.3 images/s each: 75% of that (at most 80%)"
    assert lines[6].startswith("p99: ")
    assert lines[6].endswith(" of 100.0 ms, with 25% for slow batches")


def test_the_same_for_programs(planned):
    result = planned("--rps", "5000", "--p99", "0.1s", "--json")
    found = json.loads(result.out)
    assert (found["replicas"], found["device"], found["lanes"]) == (15, "cpu", 2)
    assert found["batch_seconds"] == {"1": 0.01, "16": 0.04}
    assert found["each"]["per_s"] == pytest.approx(5000 / 15)
    assert found["each"]["p99_s"] <= 0.1
    assert found["most_per_s"] == pytest.approx(444.4, abs=0.1)


def test_a_target_that_cannot_be_kept_and_a_time_that_is_none(planned):
    result = planned("--rps", "1", "--p99", "5ms")
    assert result.code == 4
    assert "one image alone may take" in result.err
    for wrong in ("100", "fast", "-1s", "0ms"):
        assert planned("--rps", "1", "--p99", wrong).code == 2


def test_a_server_that_does_not_say_what_it_can_do(server, cli):
    server.models = [pets(state=model_pb2.MODEL_STATE_LOADING)]
    result = cli("plan", "--rps", "1", "--p99", "1s", "--server", server.address)
    assert result.code == 4
    assert "does not say what pets can do" in result.err
