"""What is still tried after memory ran out."""

from hypothesis import given
from hypothesis import strategies as st

from server.pipeline.memory_pressure import MemoryPressure


def told(pressure: MemoryPressure) -> tuple[list[int], list[str]]:
    limits: list[int] = []
    reasons: list[str] = []
    pressure.on_limit, pressure.on_unfit = limits.append, reasons.append
    return limits, reasons


def test_batches_are_halved_down_to_single_images() -> None:
    pressure = MemoryPressure(16)
    limits, reasons = told(pressure)
    for size in (16, 12, 8, 4, 3, 2):
        pressure.ran_out(size)
    # What was under way at the old size when the limit sank says nothing new.
    assert limits == [8, 6, 4, 2, 1]
    assert (pressure.largest, reasons) == (1, [])


def test_single_images_are_given_up_once_none_of_several_goes_well() -> None:
    pressure = MemoryPressure(4)
    _, reasons = told(pressure)
    for well in (False, False, True, False, False):
        pressure.went_well() if well else pressure.ran_out(1)
    assert reasons == []
    for _ in range(3):
        pressure.ran_out(1)
    assert len(reasons) == 1


@given(st.integers(1, 64), st.lists(st.integers(1, 64), max_size=30))
def test_the_limit_only_sinks_and_never_below_an_image(largest: int, sizes: list[int]) -> None:
    pressure = MemoryPressure(largest)
    limits, _ = told(pressure)
    for size in sizes:
        pressure.ran_out(size)
    assert limits == sorted(set(limits), reverse=True)
    assert 1 <= pressure.largest <= largest
