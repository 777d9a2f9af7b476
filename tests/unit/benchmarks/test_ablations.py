"""What the ablations' table says of runs."""

import pytest
import torch

from benchmarks.ablations import changes_of, gain_of
from trainer.mcnemar import pair


def digits(right: torch.Tensor) -> str:
    return "".join(str(int(each)) for each in right)


def test_the_gain_of_one_seed_is_the_paired_difference() -> None:
    drawn = torch.rand(3, 400, generator=torch.Generator().manual_seed(0))
    ours, theirs, others = drawn[0] > 0.4, drawn[1] > 0.5, drawn[2] > 0.5
    paired = pair(ours, theirs)
    points, half = gain_of([digits(ours)], [digits(theirs)])
    assert points == pytest.approx(paired.difference * 100)
    assert half == pytest.approx((paired.interval[1] - paired.difference) * 100, rel=0.01)
    # A second seed on the same photos is no second set of photos, but steadies each photo's gain.
    both, narrower = gain_of([digits(ours)] * 2, [digits(theirs), digits(others)])
    assert both == pytest.approx((paired.difference + pair(ours, others).difference) * 50)
    assert half / 2**0.5 < narrower < half


def test_changes_are_titles_and_keys() -> None:
    assert changes_of(["wider: network.widths=[16] fit.epochs=2"]) == {
        "the recipe": (),
        "wider": ["network.widths=[16]", "fit.epochs=2"],
    }
