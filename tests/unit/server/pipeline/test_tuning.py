"""Measurements of earlier starts: kept, found, and refused where they are not what was kept."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from server.pipeline.compile_cache import CompileCache
from server.pipeline.tuning import PREFIX, TuningStore

FACTS = {"artifact": "ab", "lanes": 2}
FIGURES = {1: 0.004, 2: 0.006}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(folder: Path) -> TuningStore:
    return TuningStore(CompileCache(folder))


def entry(folder: Path) -> Path:
    [path] = folder.iterdir()
    assert path.name.startswith(PREFIX)
    return path


def test_what_was_kept_is_found_for_the_same_facts_alone(store: TuningStore) -> None:
    assert store.find(FACTS, FIGURES) is None
    store.keep(FACTS, FIGURES)
    assert store.find(dict(reversed(FACTS.items())), FIGURES) == FIGURES
    assert store.find({**FACTS, "lanes": 3}, FIGURES) is None
    assert store.find(FACTS, [1, 2, 3]) is None
    assert store.find(FACTS, [1]) is None


def test_a_new_measurement_takes_the_place_of_the_old(store: TuningStore, folder: Path) -> None:
    store.keep(FACTS, FIGURES)
    store.keep(FACTS, {1: 0.1, 2: 0.2})
    assert store.find(FACTS, FIGURES) == {1: 0.1, 2: 0.2}
    entry(folder)  # and nothing is left of the old


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf"), 1e12])
def test_figures_that_make_no_sense_are_neither_kept_nor_read(
    store: TuningStore, folder: Path, bad: float
) -> None:
    store.keep(FACTS, {1: bad, 2: 0.1})
    assert store.find(FACTS, FIGURES) is None
    store.keep(FACTS, FIGURES)
    forge(folder, figures={"1": bad, "2": 0.1})
    assert store.find(FACTS, FIGURES) is None


def forge(folder: Path, **changes: object) -> None:
    """Change an entry, digest and all."""

    file = entry(folder) / "figures.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    index = {file.name: sha256(file.read_bytes()).hexdigest()}
    (file.parent / "digests.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": 2},
        {"facts": {"artifact": "another"}},
        {"figures": {"0": 1.0, "1": 1.0}},
        {"figures": {"one": 1.0}},
        {"more": 1},
    ],
)
def test_an_entry_of_another_form_is_not_read(
    store: TuningStore, folder: Path, changes: dict[str, object]
) -> None:
    store.keep(FACTS, FIGURES)
    forge(folder, **changes)
    assert store.find(FACTS, FIGURES) is None


def test_a_damaged_entry_is_taken_for_none_and_replaced(store: TuningStore, folder: Path) -> None:
    store.keep(FACTS, FIGURES)
    (entry(folder) / "figures.json").write_text("{")
    assert store.find(FACTS, FIGURES) is None
    store.keep(FACTS, FIGURES)
    assert store.find(FACTS, FIGURES) == FIGURES


def test_a_folder_that_others_could_write_is_not_used(store: TuningStore, folder: Path) -> None:
    store.keep(FACTS, FIGURES)
    folder.chmod(0o777)
    assert store.find(FACTS, FIGURES) is None
    store.keep({"other": 1}, FIGURES)
    assert len(list(folder.iterdir())) == 1
