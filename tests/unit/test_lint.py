"""Lint keeps out what runs code that comes as data."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("server", "models", "client", "trainer", "proto")
FORBIDDEN = {
    "import pickle\n\npickle.loads(b'')\n": "S301",
    "import marshal\n\nmarshal.loads(b'')\n": "S302",
    "eval('1')\n": "S307",
    "exec('1')\n": "S102",
    "import yaml\n\nyaml.load('')\n": "S506",
}


@pytest.mark.parametrize(("code", "rule"), FORBIDDEN.items(), ids=FORBIDDEN.values())
@pytest.mark.parametrize("room", ROOMS)
def test_code_in_data_does_not_pass(room: str, code: str, rule: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--output-format", "json"]
    result = subprocess.run(
        [*command, "--stdin-filename", f"{room}/sample.py", "-"],
        cwd=ROOT,
        input=code,
        capture_output=True,
        text=True,
        check=False,
    )
    assert rule in {found["code"] for found in json.loads(result.stdout)}


@pytest.mark.parametrize("room", ROOMS)
def test_those_rules_have_no_exceptions(room: str) -> None:
    excused = re.compile(r"noqa:.*\b(S102|S301|S302|S307|S506)\b")
    for path in (ROOT / room).rglob("*.py"):
        assert not excused.search(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("room", ROOMS)
def test_torch_loads_weights_only(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert given.get("weights_only") == "True", f"{path}:{node.lineno}"
