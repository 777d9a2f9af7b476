"""The short version of the fuzzing; the long one: ``python -m tests.fuzz TARGET``."""

from pathlib import Path

import pytest

from tests.programs import run_program

EXECUTIONS = {"decode": 3000, "manifest": 3000, "handlers": 1500}


@pytest.mark.parametrize("target", EXECUTIONS)
def test_damaged_inputs_are_refused_or_right(target: str, tmp_path: Path) -> None:
    """In a process of its own: what crashes natively would take the tests with it."""
    result = run_program(
        "tests.fuzz", target, "--plain", "--executions", EXECUTIONS[target], folder=tmp_path
    )
    assert result.returncode == 0, result.stderr[-4000:]
