import pytest
import torch

from server.pipeline.engine import Explain, Scores, Work
from server.pipeline.views import Quality, averaged, views_of, works_of

IMAGE = torch.arange(3 * 20 * 20).reshape(3, 20, 20).remainder(256).to(torch.uint8)
COUNTS = {Quality.ONCE: 1, Quality.FLIP: 2, Quality.CROPS: 4}


@pytest.mark.parametrize("quality", Quality)
def test_the_first_look_is_the_image_and_half_are_mirrored(quality: Quality) -> None:
    views = views_of(IMAGE, quality)
    assert len(views) == COUNTS[quality]
    assert torch.equal(views[0], IMAGE)
    assert all((view.shape, view.dtype) == (IMAGE.shape, torch.uint8) for view in views)
    half = len(views) // 2
    for plain, mirrored in zip(views[:half], views[len(views) - half :], strict=True):
        assert torch.equal(plain.flip(2), mirrored)


def test_only_the_first_look_is_explained_and_all_tell_every_score() -> None:
    works = works_of(Work(IMAGE, 1, Explain()), views_of(IMAGE, Quality.FLIP), labels=3)
    assert [work.explain is None for work in works] == [False, True]
    assert [work.top_k for work in works] == [3, 3]


def test_scores_are_averaged_and_ranked_anew() -> None:
    first = Scores((0, 1, 2), (0.6, 0.3, 0.1), novelty=0.2)
    second = Scores((1, 0, 2), (0.7, 0.2, 0.1), novelty=0.4)
    found = averaged(Work(IMAGE, 2, least_score=0.35), [first, second])
    assert found.indices == (1, 0)
    assert found.values == pytest.approx((0.5, 0.4))
    assert [index for index, _ in found.members] == [1, 0]
    assert found.novelty == pytest.approx(0.3)
