"""How large photos are, from their headers alone."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from models.errors import ImageError
from models.image_header import ImageLimits, read_header


def short_sides(paths: Sequence[Path], at_most: int = 200) -> list[int]:
    """Short sides in pixels, sorted, of up to ``at_most`` photos spread over ``paths``.

    Photos that cannot be read are left out.
    """
    step = max(1, len(paths) // at_most)
    sides = (_short_side(path) for path in islice(paths, 0, None, step))
    return sorted(side for side in sides if side)


def _short_side(path: Path) -> int:
    """In pixels; 0 where the header cannot be read."""
    try:
        header = read_header(path.read_bytes(), ImageLimits())
    except (OSError, ImageError):
        return 0
    return min(header.width, header.height)
