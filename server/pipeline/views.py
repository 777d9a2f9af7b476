"""Several looks at one image, whose scores are averaged: better answers for more computing."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from torch import Tensor
from torchvision.transforms.v2 import functional

from server.pipeline.engine import Scores, Work

_CROP = 0.85  # of the side


class Quality(StrEnum):
    """How often an image is looked at."""

    ONCE = "once"
    FLIP = "flip"  # it and its mirror image
    CROPS = "crops"  # those two, and both of its middle, enlarged


def views_of(image: Tensor, quality: Quality) -> list[Tensor]:
    """The looks at an image; the first is the image itself.

    Args:
        image: uint8 [3, h, w].
        quality: How many.

    Returns:
        uint8 [3, h, w] each.
    """
    if quality is Quality.ONCE:
        return [image]
    views = [image]
    if quality is Quality.CROPS:
        side = image.shape[-1]
        middle: Tensor = functional.center_crop(image, [round(side * _CROP)])
        enlarged: Tensor = functional.resize(middle, [side, side], antialias=True)
        views.append(enlarged)
    return [*views, *(view.flip(2) for view in views)]


def works_of(work: Work, views: Sequence[Tensor], labels: int) -> list[Work]:
    """What the engine is asked of each look: all scores; a map of the first alone."""
    whole = replace(work, top_k=labels)
    others = [replace(whole, image=view, explain=None) for view in views[1:]]
    return [whole, *others]


def averaged(work: Work, looks: Sequence[Scores]) -> Scores:
    """One answer from all looks: the mean of their scores."""
    sums: dict[int, float] = defaultdict(float)
    for look in looks:
        for index, value in zip(look.indices, look.values, strict=True):
            sums[index] += value / len(looks)
    ranked = sorted(sums.items(), key=lambda item: -item[1])
    best = ranked[: work.top_k]
    novelties = [look.novelty for look in looks if look.novelty is not None]
    return Scores(
        indices=tuple(index for index, _ in best),
        values=tuple(value for _, value in best),
        activation=looks[0].activation,
        members=tuple(item for item in ranked if item[1] >= work.least_score),
        novelty=sum(novelties) / len(novelties) if novelties else None,
        shrunk_to=min((look.shrunk_to for look in looks if look.shrunk_to), default=0),
    )
