"""What an import brings along."""

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def loaded_by(statement: str) -> set[str]:
    """The packages that are loaded after a statement, in an interpreter of its own.

    Raises:
        AssertionError: It failed, or complained.
    """
    program = f"{statement}\nimport sys\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    return set(run.stdout.split())
