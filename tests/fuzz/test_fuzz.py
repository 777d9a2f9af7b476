"""The short version of the fuzzing; the long one: ``python -m tests.fuzz TARGET``."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXECUTIONS = {"decode": 3000, "manifest": 3000, "handlers": 1500}


@pytest.mark.parametrize("target", EXECUTIONS)
def test_damaged_inputs_are_refused_or_right(target: str, tmp_path: Path) -> None:
    """In a process of its own: what crashes natively would take the tests with it."""
    command = [sys.executable, "-m", "tests.fuzz", target, "--plain"]
    result = subprocess.run(
        [*command, "--executions", str(EXECUTIONS[target])],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4000:]
