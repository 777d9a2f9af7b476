"""What a server recorded is sent to it again and compared, by the command line."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from client import Client, InvalidArgumentError
from client.replay.record import arrival_s, read_record
from tests.artifacts import TINY_NAME, publish_tiny_artifact
from tests.integration.conftest import ROOT, run_server


def wait_for(folder: Path, count: int) -> None:
    """Return once so many requests are in the record: they are written behind the answers."""
    give_up = time.monotonic() + 60
    while sum(
        len(read_record(path).requests) for path in folder.glob("*") if path.stat().st_size
    ) < (count):
        assert time.monotonic() < give_up, "the record is not complete"
        time.sleep(0.05)


def test_a_record_is_replayed_against_another_version(
    tmp_path: Path, cat: bytes, dog: bytes
) -> None:
    repository, folder = tmp_path / "repository", tmp_path / "record"
    repository.mkdir()
    for _ in range(2):
        publish_tiny_artifact(repository)
    flags = ("--repository", str(repository), "--version-policy", "all")
    with run_server(*flags, "--record", str(folder), "--record-share", "1") as server:
        with Client(server.grpc) as client:
            began = time.time()
            for number in range(6):
                client.classify((cat, dog)[number % 2], may_keep_image=number != 5, version="1")
            with pytest.raises(InvalidArgumentError):
                client.classify(b"no image", may_keep_image=True)
            ended = time.time()
        wait_for(folder, 7)
        record = read_record(folder)
        command = [sys.executable, "-m", "client", "replay", str(folder), "--server", server.grpc]
        command += ["--against", server.grpc, "--version", "2", "--speed", "3", "--json"]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert server.terminate() == 0

    times = [arrival_s(one) for one in record.requests]
    assert times == sorted(times)
    assert began - 0.01 <= times[0]
    assert times[-1] <= ended + 0.01
    assert [len(one.request.image.encoded) for one in record.requests[:6]] == [
        *[len(cat), len(dog)] * 2, len(cat), 0,
    ]  # fmt: skip
    assert [one.image_bytes for one in record.requests[:6]] == [len(cat), len(dog)] * 3
    assert record.requests[6].error.code == 3

    assert run.returncode == 1, run.stderr  # one of them is no image now, too
    found = json.loads(run.stdout)
    assert (found["requests"], found["left_out"]) == (6, 1)
    assert found["seconds"] == pytest.approx(record.seconds / 3)
    then, now, other = found["sides"].values()
    assert then["versions"] == other["versions"] == {f"{TINY_NAME} 1": 5}
    assert now["versions"] == {f"{TINY_NAME} 2": 5}
    for side in (then, now, other):
        assert side["statuses"] == {"OK": 5, "INVALID_ARGUMENT": 1}
        assert 0 < side["server_ms"]["p50"] <= side["server_ms"]["p99"]
    assert now["caller_ms"]["p50"] >= now["server_ms"]["p50"]
    assert (found["answered_by_both"], found["same_label"], found["changes"]) == (5, 5, [])
    assert len(read_record(folder).requests) == 7 + 12  # what is sent again is traffic, too
    assert not any(one.request.HasField("image") for one in read_record(folder).requests[7:])
