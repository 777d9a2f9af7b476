"""Likely wrong labels: confident learning."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from trainer.audit.findings import Finding, Problem
from trainer.errors import AuditError


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
        findings.append(
            Finding(
                path=paths[position],
                problem=Problem.MISLABELLED,
                given=classes[int(labels[position])],
                suggested=classes[suggested],
                score=float(scores[position, labels[position]]),
                note=f"out-of-fold probability of {classes[suggested]}:"
                f" {float(scores[position, suggested]):.1%}",
            )
        )
    return findings
