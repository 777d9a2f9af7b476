"""Progress of long loops: a bar on a terminal, a line in a log elsewhere."""

import logging
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track as bar

log = logging.getLogger(__name__)

T = TypeVar("T")


def track(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Iterate, showing how far it is.

    Args:
        items: What is iterated over.
        total: How many there are.
        what: Says what is done with them, for example "reading photos".
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        log.info("%s: %d", what, total)
    yield from bar(
        items, total=total, description=what, console=console, disable=not console.is_terminal
    )
