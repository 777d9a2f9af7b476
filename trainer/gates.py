"""What a run must satisfy before it gets a version number."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.contender import Contender, latency_ratio, run_as_contender
from trainer.evaluate import measure
from trainer.mcnemar import pair
from trainer.score import ScoredRun

_SIGNIFICANCE = 0.05
_MAX_ACCURACY_LOSS = 0.005
_MAX_RECALL_LOSS = 0.05
_MIN_CLASS_PHOTOS = 30  # fewer say nothing of a class's recall
_MAX_CALIBRATION_LOSS = 0.02
_MAX_LATENCY_RATIO = 1.2


@dataclass(frozen=True)
class Gate:
    """One condition and how it went.

    Attributes:
        name: What is asked.
        passed: Whether it holds.
        detail: The figures, for people.
        forcible: Whether ``--force`` may overrule it.
    """

    name: str
    passed: bool
    detail: str
    forcible: bool = True

    def __str__(self) -> str:
        return f"{'pass' if self.passed else 'FAIL'}  {self.name}: {self.detail}"


def gates(scored: ScoredRun, champion: Contender | None) -> list[Gate]:
    """All gates.

    Args:
        scored: Who asks for a version.
        champion: The version in service on the same test photos; None for a first version.
    """
    own = [_finite(scored), _leaks(scored), _floor(scored)]
    if champion is None or not own[0].passed:
        return own
    labels = _labels(scored, champion)
    if not labels.passed:
        return [*own, labels]
    challenger = run_as_contender(scored)
    truth = scored.test.images.labels
    return [
        *own,
        labels,
        _accuracy(challenger, champion, truth),
        _recalls(challenger, champion, truth),
        _calibration(challenger, champion, truth),
        _latency(challenger, champion),
    ]


def _finite(scored: ScoredRun) -> Gate:
    tensors = [*scored.module.parameters(), *scored.module.buffers(), scored.test.logits]
    bad = sum(not bool(torch.isfinite(tensor).all()) for tensor in tensors)
    detail = f"{bad} tensors with NaN or infinity"
    return Gate("weights and logits are finite", bad == 0, detail, forcible=False)


def _leaks(scored: ScoredRun) -> Gate:
    held_out = {*scored.validation.images.digests, *scored.test.images.digests}
    shared = len(held_out & set(scored.data.train_digests))
    return Gate(
        "no held-out photo was trained on",
        shared == 0,
        f"{shared} held-out photos stood among the training photos",
    )


def _floor(scored: ScoredRun) -> Gate:
    accuracy, floor = scored.metrics.accuracy, scored.recipe.minimum_accuracy
    return Gate(
        "accuracy reaches the recipe's floor",
        accuracy >= floor,
        f"accuracy {accuracy:.4f} on {scored.metrics.images} test photos, minimum_accuracy {floor}",
    )


def _labels(scored: ScoredRun, champion: Contender) -> Gate:
    ours, theirs = [label.id for label in scored.labels], champion.label_ids
    detail = ", ".join(ours) if ours == theirs else f"{', '.join(ours)}; were {', '.join(theirs)}"
    return Gate("labels are those in service", ours == theirs, detail)


def _accuracy(challenger: Contender, champion: Contender, truth: Tensor) -> Gate:
    paired = pair(challenger.right(truth), champion.right(truth))
    significant = paired.p_first_worse < _SIGNIFICANCE
    passed = not significant and paired.difference >= -_MAX_ACCURACY_LOSS
    low, high = paired.interval
    return Gate(
        "accuracy is not worse than that in service",
        passed,
        f"{paired.difference * 100:+.2f} points (95%: {low * 100:+.2f} to {high * 100:+.2f})"
        f" against {champion.name}; only it gets {paired.only_second} photos right, only this"
        f" {paired.only_first}; McNemar p {paired.p_first_worse:.4f}",
    )


def _recalls(challenger: Contender, champion: Contender, truth: Tensor) -> Gate:
    worst, where = 0.0, "no class fell"
    for index, label in enumerate(challenger.labels):
        of_class = truth == index
        if int(of_class.sum()) < _MIN_CLASS_PHOTOS:
            continue
        ours = float(challenger.right(truth)[of_class].float().mean())
        theirs = float(champion.right(truth)[of_class].float().mean())
        if theirs - ours > worst:
            worst, where = theirs - ours, f"{label.id}: {theirs:.4f} -> {ours:.4f}"
    return Gate("no class's recall falls by more than 5 points", worst <= _MAX_RECALL_LOSS, where)


def _calibration(challenger: Contender, champion: Contender, truth: Tensor) -> Gate:
    ours, theirs = (
        measure(side.logits, truth, side.temperature).expected_calibration_error
        for side in (challenger, champion)
    )
    return Gate(
        "calibration error grows by at most 0.02",
        ours - theirs <= _MAX_CALIBRATION_LOSS,
        f"{theirs:.4f} -> {ours:.4f}",
    )


def _latency(challenger: Contender, champion: Contender) -> Gate:
    ratio = latency_ratio(challenger, champion)
    sides = f"input {champion.input.height} -> {challenger.input.height} pixels"
    return Gate(
        "it takes at most 1.2 times as long", ratio <= _MAX_LATENCY_RATIO, f"{ratio:.2f}; {sides}"
    )
