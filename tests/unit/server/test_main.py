"""The command line as a whole."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_help_and_a_supervisor_do_not_wait_for_torch() -> None:
    code = "import sys, server.__main__; print({'torch', 'numpy', 'grpc'} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "set()\n", "")
