import hashlib
import json
from pathlib import Path

import pytest

from trainer.errors import DataError
from trainer.ingest import captured_photos, ingest, read_decisions, write_review


def captured(folder: Path, content: bytes, **changes: object) -> str:
    name = hashlib.sha256(content).hexdigest() + ".jpg"
    facts = {
        "file": name,
        "request_id": "r",
        "model": "m",
        "version": "1",
        "digest": "d",
        "predicted": "cat",
        "score": 0.6,
        "reasons": ["uncertain"],
        "true_label": "",
        "comment": "",
    }
    (folder / name).write_bytes(content)
    (folder / name).with_suffix(".json").write_text(json.dumps({**facts, **changes}))
    return name


def test_the_page_shows_corrections_first_and_escapes_what_people_write(tmp_path: Path) -> None:
    captured(tmp_path, b"1", score=0.1)
    corrected = captured(
        tmp_path, b"2", reasons=["corrected"], true_label="dog", comment="<script>alert(1)</script>"
    )
    assert [photo.suggestion for photo in captured_photos(tmp_path)] == ["dog", "cat"]
    page = write_review(tmp_path).read_text()
    assert page.index(corrected) < page.index('aria-label="label" value="cat"')
    assert "<script>alert" not in page


def test_decisions_sort_photos_and_leave_the_rest(tmp_path: Path) -> None:
    names = [captured(tmp_path, content) for content in (b"1", b"2", b"3")]
    decisions = tmp_path / "decisions.json"
    decisions.write_text(json.dumps({names[0]: "dog", names[1]: None}))
    found = ingest(tmp_path, tmp_path / "data", read_decisions(decisions), {"dog": "dogs"})
    assert (found.added, found.discarded) == ({"dog": 1}, 1)
    assert (tmp_path / "data" / "dogs" / f"captured-{names[0]}").read_bytes() == b"1"
    assert [photo.file for photo in captured_photos(tmp_path)] == [names[2]]


NAME = "a" * 64 + ".jpg"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        json.dumps({"../../etc/passwd": "cat"}),
        json.dumps({NAME: "../elsewhere"}),
        json.dumps({NAME: "/etc"}),
        json.dumps({NAME: ".."}),
        json.dumps({NAME: ""}),
        json.dumps({NAME: 3}),
    ],
)
def test_decisions_that_lead_elsewhere_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "decisions.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"decisions\.json is not a file of decisions"):
        read_decisions(path)


def test_a_photo_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=NAME):
        ingest(tmp_path, tmp_path / "data", {NAME: "cat"})
    with pytest.raises(DataError, match="is not a folder"):
        captured_photos(tmp_path / "nowhere")
