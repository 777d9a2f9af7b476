"""Answers in notebooks: a table with thumbnails, and a pandas data frame.

from client.notebook import Sheet, data_frame

Sheet(client.classify_many((path, path) for path in Path("photos").glob("*.jpg")))
"""

import base64
import os
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from client.results import Classification, Outcome

if TYPE_CHECKING:
    import pandas as pd

_SIDE = 96


@dataclass(frozen=True, slots=True)
class Row:
    """One outcome, flat: what a data frame's row holds.

    Attributes:
        key: The caller's key, as text.
        label: The best label's id; empty where there is none.
        score: Its calibrated probability, 0 to 1; NaN where there is none.
        abstain: Whether a person had better decide; None where the model does not say.
        model: Who answered.
        version: In which version.
        error: Why there is no answer; empty otherwise.
    """

    key: str
    label: str
    score: float
    abstain: bool | None
    model: str
    version: str
    error: str


def row(outcome: Outcome[object]) -> Row:
    """Return an outcome as a row."""
    key = str(outcome.key)
    answer = outcome.classification
    if answer is None:
        message = outcome.error.message if outcome.error else ""
        return Row(key, "", float("nan"), None, "", "", message)
    best = answer.predictions[0] if answer.predictions else None
    label, score = (best.id, best.score) if best else ("", float("nan"))
    return Row(key, label, score, answer.abstain, answer.model, answer.version, "")


def data_frame(outcomes: Iterable[Outcome[object]]) -> "pd.DataFrame":
    """Return a pandas data frame with the columns of ``Row``.

    Raises:
        ImportError: pandas is not installed.
    """
    import pandas as pd  # noqa: PLC0415 (whoever wants a data frame has it)

    return pd.DataFrame(list(map(row, outcomes)), columns=list(Row.__dataclass_fields__))


class Sheet:
    """Outcomes as a table that notebooks draw. Keys that are files have thumbnails."""

    def __init__(self, outcomes: Iterable[Outcome[object]]) -> None:
        self.outcomes = list(outcomes)

    def _repr_html_(self) -> str:
        rows = "".join(map(_html_row, self.outcomes))
        return f"<table><tr><th></th><th></th><th>label</th><th>score</th></tr>{rows}</table>"


def _html_row(outcome: Outcome[object]) -> str:
    key = escape(str(outcome.key))
    if outcome.classification is None:
        said = escape(outcome.error.message if outcome.error else "")
        return f"<tr><td></td><td>{key}</td><td colspan=2>{said}</td></tr>"
    label, score = _best(outcome.classification)
    return (
        f"<tr><td>{_picture(outcome.key)}</td><td>{key}</td><td>{label}</td><td>{score}</td></tr>"
    )


def _best(answer: Classification) -> tuple[str, str]:
    if not answer.predictions:
        return "", ""
    best = answer.predictions[0]
    doubt = "?" if answer.abstain else ""
    return escape(best.display_name or best.id) + doubt, f"{best.score:.1%}"


def _picture(key: object) -> str:
    """Return an image element; empty without Pillow, or if the key is no readable photo."""
    if not isinstance(key, str | os.PathLike):
        return ""
    try:
        from client.thumbnails import thumbnail  # noqa: PLC0415 (an extra)
    except ImportError:
        return ""
    jpeg = thumbnail(key, _SIDE)
    if jpeg is None:
        return ""
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode("ascii")}">'
