import pytest
import torch

from trainer.corruptions import corruptions, robustness
from trainer.score import ScoredRun


@pytest.mark.parametrize("name", corruptions())
def test_strong_changes_photos_more_than_mild(name: str) -> None:
    ramp = torch.arange(64).float().mul(3).repeat(64, 1)
    photo = torch.stack([ramp, ramp.T, 255 - ramp]).to(torch.uint8)
    photo = (photo // 32 * 32)[None].repeat(2, 1, 1, 1)
    changes = []
    for corrupt in corruptions()[name]:
        found = corrupt(photo)
        assert (found.shape, found.dtype) == (photo.shape, torch.uint8)
        changes.append(float((found.float() - photo.float()).abs().mean()))
    assert 0 < changes[0] < changes[1]


def test_figures_are_of_the_photos_as_corrupted(scored: ScoredRun) -> None:
    images = scored.test.images
    figures = robustness(scored.module, images.inputs, images.labels, scored.temperature)
    assert (figures[0].name, figures[0].accuracy) == ("none", scored.metrics.accuracy)
    grey = next(one for one in figures if (one.name, one.strength) == ("grey", "mild"))
    assert grey.accuracy < 1  # red and blue are grey then
    assert len(figures) == 1 + 2 * len(corruptions())
