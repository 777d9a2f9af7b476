"""Results as they come: a line of JSON for each measurement, so that a run can be resumed."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LIMITS, LIMITS_COMPILED, LIMITS_INT8 = "limits", "limits-compiled", "limits-int8"


@dataclass(frozen=True, slots=True)
class Key:
    """Which measurement: ``contender`` is a server's name or that of the limits of an engine."""

    round: int
    network: str
    contender: str
    scenario: str
    in_flight: int


class Results:
    """A file of results.

    Args:
        file: JSON lines; made with the first result.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def add(self, key: Key, figures: dict[str, Any]) -> None:
        """Append a measurement."""
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(key) | figures) + "\n")

    def __iter__(self) -> Iterator[tuple[Key, dict[str, Any]]]:
        if not self._file.exists():
            return
        names = Key.__dataclass_fields__
        for line in self._file.read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            yield (
                Key(**{name: values[name] for name in names}),
                {name: value for name, value in values.items() if name not in names},
            )
