"""Two models on the same test photos."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from models.artifact import read_artifact
from models.manifest import Metrics
from trainer.contender import (
    Contender,
    artifact_as_contender,
    latency_ratio,
    photos_of,
    run_as_contender,
)
from trainer.errors import RunError
from trainer.evaluate import measure
from trainer.mcnemar import pair
from trainer.networks.origins import is_version
from trainer.run import Run
from trainer.score import ScoredRun, score


class Side(BaseModel):
    """One of the two.

    Attributes:
        name: A run's folder, or a model and its version.
        metrics: On the shared test photos.
        parameters: How many trainable parameters.
        recalls: Of each class, by label id.
        only_right: Photos that this one alone gets right.
        trained_on: How many of the test photos it was trained on, which flatters it; None for a
            published version, which does not say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    metrics: Metrics
    parameters: int
    recalls: dict[str, float]
    only_right: tuple[str, ...]
    trained_on: int | None


class Comparison(BaseModel):
    """The first against the second.

    Attributes:
        first: One side.
        second: The other.
        difference: Accuracy of the first less that of the second.
        difference_low: Lower end of its paired 95% interval.
        difference_high: Upper end.
        p_value: McNemar's exact two-sided p.
        latency_ratio: Time of the first over that of the second, fp32 on this CPU.
        recipe_differences: Dotted key to both values, where they differ.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: Side
    second: Side
    difference: float
    difference_low: float
    difference_high: float
    p_value: float
    latency_ratio: float
    recipe_differences: dict[str, tuple[str, str]]


def compare(
    first: Path, second: Path, data: Path | None = None, cache: Path | None = None
) -> Comparison:
    """Compare two runs, or a run and a published version, on the test photos of a run.

    Args:
        first: A run's folder, or that of a version.
        second: The same; one of the two must be a run.
        data: As for ``score``, of every run that was trained on the same folder.
        cache: As for ``score``.

    Raises:
        RunError: Neither is a run, or their labels differ.
        DataError: The photos cannot be read.
        ArtifactError: A version fails its verification.
    """
    judge = next((path for path in (first, second) if not is_version(path)), None)
    if judge is None:
        raise RunError("one of the two must be a run: its recipe names the test photos")
    scored = score(Run(judge), data, cache)
    sides = [_contender(path, judge, scored, data, cache) for path in (first, second)]
    if sides[0].label_ids != sides[1].label_ids:
        raise RunError(f"labels differ: {sides[0].label_ids} and {sides[1].label_ids}")
    return _comparison(sides[0], sides[1], scored)


def _contender(
    path: Path, judge: Path, scored: ScoredRun, data: Path | None, cache: Path | None
) -> Contender:
    photos = photos_of(scored)
    if is_version(path):
        return artifact_as_contender(read_artifact(path.resolve()), photos)
    if path == judge:
        return run_as_contender(scored)
    run = Run(path)
    # Its own validation photos calibrate it. Where they lay beside the judge's, they moved along.
    moved = data if run.data().root == scored.data.root else None
    return run_as_contender(score(run, moved, cache), photos)


def _comparison(first: Contender, second: Contender, scored: ScoredRun) -> Comparison:
    truth = scored.test.images.labels
    paired = pair(first.right(truth), second.right(truth))
    low, high = paired.interval
    return Comparison(
        first=_side(first, second, scored),
        second=_side(second, first, scored),
        difference=paired.difference,
        difference_low=low,
        difference_high=high,
        p_value=paired.p_different,
        latency_ratio=latency_ratio(first, second),
        recipe_differences=_differences(first.recipe, second.recipe),
    )


def _side(own: Contender, other: Contender, scored: ScoredRun) -> Side:
    truth, paths = scored.test.images.labels, scored.test.images.paths
    right = own.right(truth)
    alone = (right & ~other.right(truth)).nonzero().flatten().tolist()
    return Side(
        name=own.name,
        metrics=measure(own.logits, truth, own.temperature),
        parameters=own.parameters,
        recalls={
            label: float(right[truth == index].float().mean())
            for index, label in enumerate(own.label_ids)
        },
        only_right=tuple(str(paths[index]) for index in alone),
        trained_on=_trained_on(own, scored.test.images.digests),
    )


def _trained_on(contender: Contender, digests: Sequence[str]) -> int | None:
    if contender.train_digests is None:
        return None
    return len(contender.train_digests & set(digests))


def _differences(first: dict[str, object], second: dict[str, object]) -> dict[str, tuple[str, str]]:
    ours, theirs = _flat(first), _flat(second)
    return {
        key: (ours.get(key, "-"), theirs.get(key, "-"))
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key, "-") != theirs.get(key, "-")
    }


def _flat(document: dict[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat
