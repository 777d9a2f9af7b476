"""A progress bar for many images, on terminals only, with rate and time left."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from client.cli.paths import named_images


@contextmanager
def progress(
    console: Console | None, paths: Sequence[str], *, done: int = 0
) -> Iterator[Callable[[], None]]:
    """Show a bar on `console` while the body runs; yield what to call after each image.

    Shows nothing without a console, or for a single file. The images are counted in the
    background, since the first one need not wait for that: until then the bar only moves.
    `done` images of an earlier run count as done, but not for the rate.
    """
    if console is None or (len(paths) == 1 and not Path(paths[0]).is_dir()):
        yield lambda: None
        return
    bar = Progress(
        TextColumn("Classifying"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    over = Event()
    with bar:
        task = bar.add_task("", total=None, completed=done)
        Thread(target=_count, args=(bar, task, paths, over), daemon=True).start()
        try:
            yield lambda: bar.advance(task)
        finally:
            over.set()


class _Rate(ProgressColumn):
    """Images a second, as of late."""

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing while there is none."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.0f}/s")


def _count(bar: Progress, task: TaskID, paths: Sequence[str], over: Event) -> None:
    total = 0
    for _ in named_images(paths):
        if over.is_set():
            return
        total += 1
    bar.update(task, total=total)
