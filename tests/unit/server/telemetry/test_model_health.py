"""The population stability index of a version's traffic."""

import random
from math import log

import pytest

from models.image_statistics import ImageStatistics
from models.manifest import Histogram, Reference
from server.telemetry.model_health import ModelHealth, _chi_squared

BRIGHTNESS = (0.1, 0.2, 0.4, 0.2, 0.1)
SCORES = (0.0, 0.1, 0.9)
LABELS = (0.5, 0.5)
REFERENCE = Reference(
    images=100_000,  # so many that the half image more in each bin does not show
    best_score=Histogram(edges=(0.0, 0.5, 0.8, 1.0), shares=SCORES),
    brightness=Histogram(edges=(0, 51, 102, 153, 204, 255), shares=BRIGHTNESS),
    labels=LABELS,
)


def image(rng: random.Random, labels=LABELS, scores=SCORES, brightness=BRIGHTNESS):
    score_bin = rng.choices(range(3), scores)[0]
    brightness_bin = rng.choices(range(5), brightness)[0]
    low, high = REFERENCE.best_score.edges[score_bin : score_bin + 2]
    return (
        rng.choices(range(2), labels)[0],
        rng.uniform(low, high),
        51 * (brightness_bin + rng.random()),
    )


def observe(
    health: ModelHealth, label: int, score: float, brightness: float, image_bytes: int = 0
) -> list[str]:
    statistics = ImageStatistics(brightness, 0.0, 0.0, 0.0)
    return health.observe(label, score, statistics, None, image_bytes)


def health_after(count: int, **shares) -> ModelHealth:
    health, rng = ModelHealth(REFERENCE), random.Random(1)
    for _ in range(count):
        observe(health, *image(rng, **shares))
    return health


def test_nothing_is_said_of_few_images() -> None:
    assert health_after(199).drift() == {}
    assert health_after(200).drift().keys() == {"best_score", "brightness", "labels"}


def test_ordinary_traffic_is_far_from_the_threshold() -> None:
    assert all(0 <= index < 0.05 for index in health_after(1000).drift().values())


@pytest.mark.parametrize(
    ("signal", "shares"),
    [
        ("labels", {"labels": (0.9, 0.1)}),
        ("brightness", {"brightness": (0.6, 0.3, 0.1, 0.0, 0.0)}),
        ("best_score", {"scores": (0.2, 0.3, 0.5)}),
    ],
)
def test_each_signal_sees_its_own_drift_alone(signal: str, shares) -> None:
    drift = health_after(1000, **shares).drift()
    assert drift.pop(signal) > 0.25
    assert max(drift.values()) < 0.05


def test_the_index_is_that_of_its_definition() -> None:
    health = ModelHealth(REFERENCE, least=1)
    for number in range(1000):
        observe(health, 0 if number < 800 else 1, 0.9, 128)
    total = 1000 + 1
    p, q = (800.5 / total, 200.5 / total), (0.5, 0.5)
    expected = sum((a - b) * log(a / b) for a, b in zip(p, q, strict=True))
    assert health.drift()["labels"] == pytest.approx(expected, rel=1e-4)


def test_larger_files_than_those_of_the_reference_are_seen() -> None:
    sizes = Histogram(edges=(0.0, 10_000.0, 20_000.0, 50_000.0), shares=(0.3, 0.4, 0.3))
    health = ModelHealth(REFERENCE.model_copy(update={"image_bytes": sizes}))
    rng = random.Random(5)
    for growth in (1, 3):
        alarms = [
            observe(health, *image(rng), growth * rng.randrange(2000, 30_000))
            for _ in range(1000)
        ]  # fmt: skip
        assert alarms[-1] == (["image_bytes"] if growth > 1 else [])


def test_the_window_forgets() -> None:
    health, rng = ModelHealth(REFERENCE, window=500), random.Random(2)
    for _ in range(500):
        observe(health, *image(rng, labels=(1.0, 0.0)))
    assert health.drift()["labels"] > 0.25
    for _ in range(500):
        observe(health, *image(rng))
    assert health.drift()["labels"] < 0.05


def test_many_rare_labels_are_looked_at_together() -> None:
    """A thousand classes of a thousandth each: a window of a thousand says little of each."""
    shares = (0.001,) * 1000
    health = ModelHealth(REFERENCE.model_copy(update={"labels": shares, "images": 50_000}))
    rng = random.Random(3)
    for _ in range(1000):
        observe(health, rng.randrange(1000), 0.9, 128)
    assert health.drift()["labels"] < 0.1


def test_a_window_that_drifted_raises_one_alarm_for_its_signal() -> None:
    health, rng = ModelHealth(REFERENCE), random.Random(4)
    alarms = [observe(health, *image(rng)) for _ in range(1000)]
    alarms += [observe(health, *image(rng, labels=(0.9, 0.1))) for _ in range(2000)]
    assert [name for window in alarms for name in window] == ["labels", "labels"]
    assert alarms[1999] == alarms[2999] == ["labels"]


def test_thresholds_grow_with_what_is_not_known() -> None:
    few = REFERENCE.model_copy(update={"images": 100})
    for name, threshold in ModelHealth(REFERENCE).thresholds.items():
        assert 0 < threshold < ModelHealth(few).thresholds[name] / 5


@pytest.mark.parametrize(("degrees", "exact"), [(1, 32.84), (5, 45.79), (9, 55.45), (19, 75.73)])
def test_the_quantile_is_that_of_the_tables_or_a_little_more(degrees: int, exact: float) -> None:
    assert exact <= _chi_squared(degrees, 1 - 1e-8) <= exact * 1.25
