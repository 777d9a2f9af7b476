"""How cores are shared out between lanes."""

from pathlib import Path

import pytest

from server.pipeline.compile_cache import CompileCache
from server.pipeline.cores import Allotment, allot
from server.pipeline.probe import batches_per_s, choose_lanes, known_rates
from server.pipeline.tuning import TuningStore


def no_question(candidates: list[int]) -> dict[int, float]:
    raise AssertionError(f"there is no choice between {candidates}")


def test_few_cores_leave_no_choice() -> None:
    assert [choose_lanes(cores, no_question) for cores in (1, 2, 3)] == [1, 2, 2]


@pytest.mark.parametrize(
    ("measured", "chosen"),
    [
        ({2: 100.0, 4: 105.0, 8: 108.0}, 2),  # nearly the same: one image is answered sooner
        ({2: 60.0, 4: 95.0, 8: 100.0}, 4),
        ({2: 30.0, 4: 60.0, 8: 100.0}, 8),
        ({2: 100.0, 4: 40.0, 8: 20.0}, 2),
    ],
)
def test_the_fewest_lanes_that_compute_nearly_as_much(
    measured: dict[int, float], chosen: int
) -> None:
    def rates(candidates: list[int]) -> dict[int, float]:
        assert candidates == [2, 4, 8]
        return measured

    assert choose_lanes(9, rates) == chosen


def test_every_arrangement_is_really_computed() -> None:
    rates = batches_per_s(2, [1, 2])
    assert list(rates) == [1, 2]
    assert all(rate > 0 for rate in rates.values())


def test_rates_of_an_earlier_start_are_taken_while_the_best_still_computes_as_much(
    tmp_path: Path,
) -> None:
    store, asked, pace = TuningStore(CompileCache(tmp_path / "cache")), [], 1.0

    def measure(_cores: int, candidates: list[int]) -> dict[int, float]:
        asked.append(candidates)
        return {lanes: pace * 100.0 * lanes for lanes in candidates}

    def rates() -> dict[int, float]:
        return known_rates(8, [2, 4, 8], store, measure)

    first = rates()
    pace = 0.8
    assert rates() == first
    pace = 0.5
    assert rates() == {2: 100.0, 4: 200.0, 8: 400.0}
    assert rates() == {2: 100.0, 4: 200.0, 8: 400.0}
    assert asked == [[2, 4, 8], [8], [8], [2, 4, 8], [8]]
    assert known_rates(8, [2], None, measure) == {2: 100.0}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Allotment(4, 4, 16)),
        ({"lanes": 8}, Allotment(8, 2, 16)),
        ({"threads": 8}, Allotment(2, 8, 16)),
        ({"lanes": 3, "threads": 1, "decoders": 5}, Allotment(3, 1, 5)),
        ({"accelerator": True}, Allotment(2, 1, 16)),
    ],
)
def test_what_is_set_is_kept(given: dict[str, int], expected: Allotment) -> None:
    plain = {"accelerator": False, "lanes": 0, "threads": 0, "decoders": 0}
    assert allot(16, **{**plain, **given}, lanes_of=lambda _cores: 4) == expected
