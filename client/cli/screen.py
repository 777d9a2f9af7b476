"""Standard output and standard error: colours and widths on a terminal, plain text elsewhere."""

import io
import os
import sys
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console

# Wider than any table: what goes into a pipe or a file is never cut or wrapped.
_UNLIMITED_WIDTH = 10_000


class _PipeConsole(Console):
    def on_broken_pipe(self) -> None:
        """Let the command end by its own rule instead of rich's."""
        raise BrokenPipeError


@dataclass(frozen=True, slots=True)
class Screen:
    """Where a command writes.

    Attributes:
        out: Results.
        err: Everything else.
        unicode: Whether results may use more than ASCII for bars and rules.
    """

    out: Console
    err: Console
    unicode: bool

    @property
    def live_console(self) -> Console | None:
        """The console to draw a progress bar on: that of the results if it is a terminal, so
        that the two do not overwrite each other; None if standard error is no terminal."""
        if not _is_interactive(sys.stderr, self.err):
            return None
        return self.out if _is_interactive(sys.stdout, self.out) else self.err

    @property
    def notes(self) -> Console:
        """Where failures are told while results go to `out`: on standard error, unless a bar
        is drawn on the same terminal by way of standard output."""
        return self.live_console or self.err


def open_screen() -> Screen:
    """Return the screen of this process. Text that the encoding lacks is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    encoding = (sys.stdout.encoding or "").lower()
    return Screen(_console(sys.stdout), _console(sys.stderr), encoding.startswith("utf"))


def _console(stream: TextIO) -> Console:
    return _PipeConsole(
        stderr=stream is sys.stderr,
        width=None if stream.isatty() else _UNLIMITED_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
    )


def _is_interactive(stream: TextIO, console: Console) -> bool:
    return stream.isatty() and not console.is_dumb_terminal and "NO_COLOR" not in os.environ
