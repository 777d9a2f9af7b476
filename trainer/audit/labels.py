"""Likely wrong labels: confident learning."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from trainer.audit.findings import Finding, Problem
from trainer.errors import AuditError

SURE = 0.9
"""Probability of the suggested class from which leaving a photo out is advised; docs/audit.md."""


def require_cleanlab() -> None:
    """Say that the extra is missing before minutes of training, not after.

    Raises:
        AuditError: cleanlab is not installed.
    """
    if find_spec("cleanlab") is None:
        raise AuditError('cleanlab is missing: pip install "menagerie[audit]"')


def mislabelled(
    scores: Tensor, labels: Tensor, paths: Sequence[Path], classes: Sequence[str]
) -> list[Finding]:
    """Photos whose label is likely wrong, the likeliest first.

    Leaving out is advised for those alone whose suggested class is nearly sure: networks that
    judge poorly name many hard photos whose label is right.

    Northcutt et al., "Confident Learning" (arXiv 1911.00068), as cleanlab has it.

    Args:
        scores: Out-of-fold softmax scores, float32 [n, classes].
        labels: Given labels, int64 [n].
        paths: Of each photo.
        classes: Ids in the order of the labels.
    """
    from cleanlab.filter import find_label_issues

    positions = find_label_issues(
        labels.numpy(),
        scores.double().numpy(),
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    findings = []
    for position in positions.tolist():
        suggested = int(scores[position].argmax())
        probability = float(scores[position, suggested])
        findings.append(
            Finding(
                path=paths[position],
                problem=Problem.MISLABELLED,
                given=classes[int(labels[position])],
                suggested=classes[suggested],
                score=float(scores[position, labels[position]]),
                note=f"out-of-fold probability of {classes[suggested]}: {probability:.1%}",
                exclude=probability >= SURE,
            )
        )
    return findings
