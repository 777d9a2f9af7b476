import hashlib
import json
import threading
from pathlib import Path

import pytest

from server.pipeline import capture as module
from server.pipeline.capture import Capture, Captured, CapturePolicy


def photo(number: int, **changes: object) -> Captured:
    fields = {
        "image": b"\xff\xd8" + bytes([number]) * 98,
        "request_id": f"r{number}",
        "model": "m",
        "version": "1",
        "digest": "d",
        "predicted": "cat",
        "score": 0.5,
        "reasons": ("novel",),
    }
    return Captured(**{**fields, **changes})


def test_a_photo_lies_beside_its_facts_under_the_name_of_its_content(tmp_path: Path) -> None:
    capture = Capture(CapturePolicy(tmp_path / "new", 60, 10_000))
    assert capture.offer(photo(1))
    assert capture.offer(photo(1, true_label="dog", reasons=("corrected",)))
    capture.close()
    name = hashlib.sha256(photo(1).image).hexdigest()
    assert {path.name for path in (tmp_path / "new").iterdir()} == {f"{name}.jpg", f"{name}.json"}
    facts = json.loads((tmp_path / "new" / f"{name}.json").read_text())
    assert (facts["file"], facts["true_label"]) == (f"{name}.jpg", "dog")  # the later facts
    assert "image" not in facts


def test_the_budget_counts_what_lies_there_already(tmp_path: Path) -> None:
    (tmp_path / "old.jpg").write_bytes(b"x" * 150)
    outcomes: list[str] = []
    capture = Capture(CapturePolicy(tmp_path, 60, 300), outcomes.append)
    for number in range(3):
        capture.offer(photo(number))
    capture.close()
    assert outcomes == ["kept", "budget", "budget"]
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_the_rate_holds_for_all_but_corrections(tmp_path: Path) -> None:
    now = [0.0]
    capture = Capture(CapturePolicy(tmp_path, 60, 10**6), clock=lambda: now[0])
    taken = [capture.offer(photo(number)) for number in range(12)]
    assert taken == [True] * 10 + [False] * 2
    assert capture.offer(photo(20, true_label="dog"))
    now[0] = 2.0
    assert [capture.offer(photo(30 + number)) for number in range(3)] == [True, True, False]
    capture.close()


def test_a_slow_disk_loses_photos_and_never_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = threading.Event(), threading.Event()

    def stuck(_path: Path, _content: bytes) -> None:
        writing.set()
        go_on.wait(30)

    monkeypatch.setattr(module, "_replace", stuck)
    outcomes: list[str] = []
    capture = Capture(CapturePolicy(tmp_path, 10**9, 10**9), outcomes.append)
    capture.offer(photo(0, true_label="dog"))
    assert writing.wait(30)
    taken = [capture.offer(photo(n % 250, true_label="dog")) for n in range(1, 80)]
    assert taken.count(True) == 64
    assert outcomes == ["queue"] * 15
    go_on.set()
    capture.close()


def test_a_full_disk_is_counted_and_the_next_photo_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = module._replace, iter([True])

    def failing_once(path: Path, content: bytes) -> None:
        if next(failures, False):
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(module, "_replace", failing_once)
    outcomes: list[str] = []
    capture = Capture(CapturePolicy(tmp_path, 60, 10**6), outcomes.append)
    capture.offer(photo(1))
    capture.offer(photo(2))
    capture.close()
    assert outcomes == ["failed", "kept"]
