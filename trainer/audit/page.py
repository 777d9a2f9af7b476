"""The audit as one page with thumbnails."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from models.errors import ImageError
from models.image_header import ImageLimits
from models.preprocess import decode
from trainer.audit.findings import Finding, Problem
from trainer.pages import template, thumbnail

_SHOWN = 200  # findings of a kind; the CSV has them all


def render(
    findings: Sequence[Finding], classes: Mapping[str, int], imbalance: str, root: Path
) -> str:
    """The page's HTML; every name is escaped, every picture is inside.

    Args:
        findings: All of them.
        classes: Photos by class.
        imbalance: A sentence, or nothing.
        root: The data folder; paths are shown relative to it.
    """
    sections = []
    for problem in Problem:
        own = [finding for finding in findings if finding.problem is problem]
        tiles = [_tile(finding, root) for finding in own[:_SHOWN]]
        kept = sum(not finding.exclude for finding in own)
        sections.append({"title": problem.value, "count": len(own), "kept": kept, "tiles": tiles})
    return template("trainer.audit", "page.html.j2").render(
        root=root.resolve().name,
        sections=sections,
        classes=classes,
        imbalance=imbalance,
        shown=_SHOWN,
    )


def _tile(finding: Finding, root: Path) -> dict[str, object]:
    return {
        "finding": finding,
        "path": str(finding.path.relative_to(root)),
        "image": _thumbnail(finding.path),
        "original": _thumbnail(finding.original) if finding.original else "",
    }


def _thumbnail(path: Path) -> str:
    """A JPEG data URI; empty for what cannot be decoded."""
    try:
        return thumbnail(decode(path.read_bytes(), ImageLimits()))
    except (OSError, ImageError):
        return ""
