"""The trainer on a disk that is full: no file may grow beyond so many bytes."""

import subprocess
import sys

from tests.integration.conftest import ROOT

_SCRIPT = """
import resource, runpy, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.argv = ["trainer", *sys.argv[2:]]
runpy.run_module("trainer", run_name="__main__")
"""


def trainer_within(file_bytes: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """``python -m trainer`` with ``arguments``, its files at most ``file_bytes`` large."""
    return subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(file_bytes), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
