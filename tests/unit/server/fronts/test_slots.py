"""Slots: pixels go through unchanged, and a slot is nobody else's until it is given back."""

import pytest
import torch

from server.fronts.slots import Slots, SlotView


def test_pixels_are_seen_on_the_other_side(tmp_path) -> None:
    slots = Slots(tmp_path / "slots", 2, 3 * 8 * 8)
    view = SlotView(slots.path, slots.size)
    images = [torch.randint(0, 256, (3, 8, 4), dtype=torch.uint8) for _ in range(2)]
    taken = [slots.put(image) for image in images]
    assert None not in taken
    for image, slot in zip(images, taken, strict=True):
        assert torch.equal(view.pixels(slot, 8, 4), image)


def test_no_slot_is_given_twice_and_a_full_memory_says_so(tmp_path) -> None:
    slots = Slots(tmp_path / "slots", 2, 12)
    image = torch.zeros(3, 2, 2, dtype=torch.uint8)
    first, second = slots.put(image), slots.put(image)
    assert {first, second} == {0, 1}
    assert slots.put(image) is None
    slots.give_back(first)
    assert slots.put(image) == first


def test_what_does_not_fit_takes_no_slot(tmp_path) -> None:
    slots = Slots(tmp_path / "slots", 1, 12)
    assert slots.put(torch.zeros(3, 3, 3, dtype=torch.uint8)) is None
    assert slots.free == 1


@pytest.mark.parametrize("where", [(-1, 1, 1), (0, 3, 3), (1, 1, 1)])
def test_a_view_reads_only_slots_that_there_are(tmp_path, where) -> None:
    slots = Slots(tmp_path / "slots", 1, 12)
    with pytest.raises(ValueError, match="no slot"):
        SlotView(slots.path, slots.size).pixels(*where)


def test_a_front_takes_the_place_of_one_that_died(tmp_path) -> None:
    Slots(tmp_path / "slots", 1, 12)
    assert Slots(tmp_path / "slots", 3, 12).free == 3
    assert (tmp_path / "slots").stat().st_mode & 0o077 == 0
