"""Programs of the project, each a process of its own, that need not import torch again.

To import torch and torchvision takes a process longer than most tests do. One process does it
for all (the standard library's fork server) and a program is a fork of it, which then runs its
module as ``python -m`` would. What an interpreter does before that is shown where tests start
one: tests/integration/test_life_cycle.py.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[1]
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.preloaded"])
# An exit code can be read once, and each start looks for those of all programs.
_ONE_AT_A_TIME = threading.Lock()


@atexit.register
def _end_programs() -> None:
    """Those that a failed test has left: at its exit Python would wait for their own end."""
    for program in multiprocessing.active_children():
        program.kill()


class Program:
    """``python -m MODULE ARGUMENTS`` in a session of its own, by default in the repository's root.

    It has those methods of `subprocess.Popen` that tests call. Its stdout and stderr are pipes.
    """

    def __init__(
        self,
        module: str,
        *arguments: object,
        environment: Mapping[str, str] | None = None,
        folder: Path = ROOT,
    ) -> None:
        (stdout, its_stdout), (stderr, its_stderr) = (_FORKS.Pipe(duplex=False) for _ in range(2))
        self._process = _FORKS.Process(
            target=_run,
            args=(
                [module, *map(str, arguments)],
                dict(os.environ if environment is None else environment),
                folder,
                its_stdout,
                its_stderr,
            ),
        )
        with _ONE_AT_A_TIME:
            self._process.start()
        for end in (its_stdout, its_stderr):
            end.close()
        self.stdout, self.stderr = _file(stdout), _file(stderr)
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Its exit code, negative the signal that ended it; None while it runs."""
        with _ONE_AT_A_TIME:
            return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def wait(self, timeout: float | None = None) -> int:
        wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def communicate(self) -> tuple[str, str]:
        """Wait for its end; returns what it wrote to stdout and stderr."""
        with ThreadPoolExecutor(1) as pool, self.stdout, self.stderr:
            errors = pool.submit(self.stderr.read)
            written = self.stdout.read(), errors.result()
        self.wait()
        return written

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def run_program(
    module: str,
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    """A program from its start to its end."""
    program = Program(module, *arguments, environment=environment, folder=folder)
    stdout, stderr = program.communicate()
    return subprocess.CompletedProcess([module, *arguments], program.wait(), stdout, stderr)


def _file(end: Connection) -> TextIO:
    file = os.fdopen(os.dup(end.fileno()), encoding="utf-8")
    end.close()
    return file


def _run(
    command: list[str],
    environment: dict[str, str],
    folder: Path,
    stdout: Connection,
    stderr: Connection,
) -> None:
    """In the fork: be the program."""
    for number, end in ((1, stdout), (2, stderr)):
        os.dup2(end.fileno(), number)
        end.close()
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = command
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # a fork ends without them
