"""Publish a run, and be killed in the middle: ``... killed_publish RUN REPOSITORIES``.

It scores the run once, then publishes in forks: one whole, which counts the steps on the disk,
and others killed before every fourth step and the last, each in a repository of its own.
"""

import os
import signal
import sys
from pathlib import Path

from models.repository import ModelRepository
from trainer.publish import publish
from trainer.run import Run
from trainer.score import ScoredRun, score


def publish_until(scored: ScoredRun, root: Path, last_step: int) -> None:
    """Publish into ``root``, and die before that step."""
    root.mkdir()
    steps = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal steps
        on_disk = event in ("open", "os.mkdir", "os.rename") and str(root) in str(arguments[0])
        if on_disk or event == "subprocess.Popen":
            steps += 1
            if steps == last_step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    publish(scored, ModelRepository(root), twin=False)
    (root.parent / "steps").write_text(str(steps))
    os._exit(0)


def fork(scored: ScoredRun, root: Path, last_step: int) -> int:
    """Returns how the fork ended, as ``os.waitpid`` says it."""
    child = os.fork()
    if child == 0:
        publish_until(scored, root, last_step)
    return os.waitpid(child, 0)[1]


def main() -> None:
    scored, repositories = score(Run(Path(sys.argv[1]))), Path(sys.argv[2])
    fork(scored, repositories / "whole", 0)
    steps = int((repositories / "steps").read_text())
    for step in [*range(1, steps, 4), steps]:
        assert fork(scored, repositories / f"{step:02}", step) == signal.SIGKILL, step


if __name__ == "__main__":
    main()
