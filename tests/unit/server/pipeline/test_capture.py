import hashlib
import json
import threading
from pathlib import Path

import pytest

from models.errors import StoreError
from models.stores import Store
from server.pipeline import shelves
from server.pipeline.bucket import Bucket
from server.pipeline.capture import Capture, Captured, CapturePolicy
from tests.stores import bucket


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

    def stuck(_folder: shelves.Folder, _name: str, _content: bytes) -> None:
        writing.set()
        go_on.wait(30)

    monkeypatch.setattr(shelves.Folder, "put", stuck)
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
    real, failures = shelves.Folder.put, iter([True])

    def failing_once(folder: shelves.Folder, name: str, content: bytes) -> None:
        if next(failures, False):
            raise OSError(28, "No space left on device")
        real(folder, name, content)

    monkeypatch.setattr(shelves.Folder, "put", failing_once)
    outcomes: list[str] = []
    capture = Capture(CapturePolicy(tmp_path, 60, 10**6), outcomes.append)
    capture.offer(photo(1))
    capture.offer(photo(2))
    capture.close()
    assert outcomes == ["failed", "kept"]


def test_an_object_store_is_a_place_as_well() -> None:
    with bucket() as made:
        outcomes: list[str] = []
        place = f"{made.url}/captured"
        for _ in range(2):  # the second finds what the first has kept
            capture = Capture(CapturePolicy(place, 60, 150), outcomes.append)
            capture.offer(photo(1))
            capture.offer(photo(2))
            capture.close()
        name = hashlib.sha256(photo(1).image).hexdigest()
        kept = Store(place)
        assert kept.read(f"{name}.jpg", 1000) == photo(1).image
        assert json.loads(kept.read(f"{name}.json", 1000))["file"] == f"{name}.jpg"
        # The photo of 100 bytes and its facts leave no room for another.
        assert outcomes == ["kept", "budget"] * 2


def test_a_store_that_goes_away_is_counted_and_one_that_cannot_be_written_refused() -> None:
    with bucket() as made:
        outcomes: list[str] = []
        capture = Capture(CapturePolicy(made.url, 60, 10**6), outcomes.append)
        capture._shelf = Bucket("s3://nowhere/served")  # as if it had been deleted
        capture.offer(photo(1))
        capture.close()
        assert outcomes == ["failed"]
        with pytest.raises(StoreError, match="s3://nowhere/served cannot be written"):
            Capture(CapturePolicy("s3://nowhere/served", 60, 1))
    with pytest.raises(StoreError, match="must be s3, gs or file") as refused:
        Capture(CapturePolicy("https://ann:secret@example.org/x", 60, 1))
    assert "secret" not in str(refused.value)
