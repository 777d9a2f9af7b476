import pytest
import torch
from torch import Tensor

from models.errors import IntegrityError
from models.manifest import NoveltyMethod
from models.novelty import load_centroids, save_centroids
from trainer.novelty import Seen, _without_oneself, auroc, check_novelty, choose_novelty

CLASSES, CHANNELS = 3, 16
LABELS = torch.arange(CLASSES).repeat(50)


def around(directions: Tensor, spread: float, seed: int) -> Tensor:
    noise = torch.randn(directions.shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(directions + spread * noise, dim=1)


def ordinary(seed: int) -> Seen:
    directions = torch.eye(CHANNELS)[LABELS]
    logits = torch.nn.functional.one_hot(LABELS).float() * 4
    return Seen(around(directions, 0.1, seed), logits)


def strange(seed: int, sure: float = 4.0) -> Seen:
    directions = torch.eye(CHANNELS)[torch.full((150,), 7)]
    return Seen(around(directions, 0.1, seed), torch.tensor([[sure, 0.0, 0.0]]).repeat(150, 1))


def test_photos_of_other_things_are_novel_and_ordinary_ones_are_not() -> None:
    choice = choose_novelty(ordinary(0), LABELS, 1.0, strange(1))
    figures = check_novelty(choice, ordinary(2), strange(3), 1.0)
    assert choice.novelty.method is NoveltyMethod.FEATURE_DISTANCE
    assert figures.auroc > 0.99
    assert figures.detected == 1.0
    assert figures.flagged < 0.15
    assert figures.auroc_low <= figures.auroc <= figures.auroc_high


def test_the_score_that_tells_better_is_chosen() -> None:
    hidden = Seen(ordinary(4).means, strange(5, sure=0.0).logits)  # the features show nothing
    choice = choose_novelty(ordinary(0), LABELS, 1.0, hidden)
    assert choice.novelty.method is NoveltyMethod.ENERGY
    assert choice.novelty.auroc == 1.0


def test_without_other_photos_the_features_decide_and_nothing_is_claimed() -> None:
    novelty = choose_novelty(ordinary(0), LABELS, 1.0, None).novelty
    assert novelty.method is NoveltyMethod.FEATURE_DISTANCE
    assert (novelty.auroc, novelty.detected_share, novelty.others) == (None, None, 0)
    assert novelty.expected_share == pytest.approx(0.05, abs=0.01)


def test_a_photo_does_not_stand_in_the_mean_that_it_is_held_against() -> None:
    seen = ordinary(0)
    centroids = torch.stack([seen.means[one == LABELS].mean(dim=0) for one in range(CLASSES)])
    found = _without_oneself(seen.means, LABELS, centroids)
    others = (LABELS[0] == LABELS) & (torch.arange(len(LABELS)) != 0)
    mean = torch.nn.functional.normalize(seen.means[others].mean(dim=0), dim=0)
    assert float(found[0]) == pytest.approx(1 - float(seen.means[0] @ mean), abs=1e-5)


def test_auroc_counts_pairs() -> None:
    assert auroc(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.5, 9000.0, 9001.0])) == (
        pytest.approx(8 / 9)
    )


@pytest.mark.parametrize("damage", [b"", b"x" * 100, save_centroids(torch.ones(2, 4))])
def test_damaged_centroids_are_refused(damage: bytes) -> None:
    with pytest.raises(IntegrityError, match="novelty"):
        load_centroids(damage, classes=3)
    assert torch.equal(load_centroids(save_centroids(torch.ones(3, 4)), 3), torch.ones(3, 4))
