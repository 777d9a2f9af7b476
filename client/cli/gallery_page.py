"""Writes the page of ``gallery`` as the answers come, in constant memory. Needs Pillow.

The page is one HTML file. Its data are lines of JSON in script elements, one for each photo, of
which the page's own script makes elements as they come into view.
"""

import base64
import hashlib
import json
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from client.cli.json_lines import Json
from client.cli.text import encodable
from client.results import Outcome
from client.thumbnails import thumbnail

_TEMPLATE = Path(__file__).with_name("gallery.html")
_HERE = "<!-- photos -->"


class GalleryPage:
    """A page being written. A context manager: a run that fails leaves no page.

    Raises:
        OSError: The page cannot be written.
    """

    def __init__(self, output: Path, size: int, *, beside: bool) -> None:
        self._output = output
        self._size = size
        self._folder = output.with_name(output.stem + "_files") if beside else None
        self._part = output.with_name(output.name + ".part")
        self._start, self._end = _template()
        self._count = 0

    def __enter__(self) -> Self:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("w", encoding="utf-8")
        self._file.write(self._start)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._file:
            self._file.write(self._end)
        if exc_type is None:
            self._part.replace(self._output)
        else:
            self._part.unlink()

    def add(self, outcome: Outcome[str]) -> None:
        """Write one photo; one that failed has its reason in place of labels."""
        entry: dict[str, Json] = {"path": encodable(outcome.key)}
        if outcome.error is not None:
            entry["error"] = encodable(outcome.error.message)
        else:
            found = outcome.result()
            if found.abstain is not None:
                entry["abstain"] = found.abstain
            entry["model"] = f"{found.model} {found.version}"
            entry["labels"] = [
                [p.display_name or p.id, round(p.score, 4)] for p in found.predictions
            ]
        entry["photo"] = self._thumbnail(outcome.key)
        # "<" would let a file name end the script element.
        text = json.dumps(entry).replace("<", "\\u003c")
        self._file.write(f'<script type="application/json">{text}</script>\n')

    def _thumbnail(self, path: str) -> str:
        """Return the address of a small JPEG; empty if Pillow cannot make one."""
        jpeg = thumbnail(path, self._size)
        if jpeg is None:
            return ""
        if self._folder is None:
            return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
        self._count += 1
        name = f"{self._count:07}.jpg"
        (self._folder / name).write_bytes(jpeg)
        return f"{quote(self._folder.name)}/{name}"


def _template() -> tuple[str, str]:
    """Return what comes before and after the photos; the policy names the script by its hash."""
    page = _TEMPLATE.read_text(encoding="utf-8")
    script = page.split("<script>", 1)[1].split("</script>", 1)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    start, end = page.replace("SCRIPT-HASH", digest).split(_HERE)
    return start, end
