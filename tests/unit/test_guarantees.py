"""What docs/reference/guarantees.md and SECURITY.md name as a check is there and can be called."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("docs/reference/guarantees.md", "SECURITY.md")
_CODE = re.compile(r"`([^`\n]+)`")
_FLAG = re.compile(r"--[a-z][a-z-]*")


def said(document: str, start: str) -> list[str]:
    """What stands in code marks and begins so."""
    texts = _CODE.findall((ROOT / document).read_text(encoding="utf-8"))
    return [text for text in texts if text.startswith(start)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_is_there_and_knows_its_flags(document: str) -> None:
    commands = said(document, "python -m ")
    assert commands
    for command in commands:
        module, *arguments = command.removeprefix("python -m ").split()
        if module in ("server", "client", "trainer"):  # their flags are tested where they are
            continue
        found = importlib.util.find_spec(module)
        assert found is not None, f"{command}: there is no {module}"
        entry = Path(str(found.origin))
        if entry.name == "__init__.py":
            entry = entry.with_name("__main__.py")
        source = entry.read_text(encoding="utf-8")
        for flag in _FLAG.findall(" ".join(arguments)):
            assert f'"{flag}"' in source, f"{command}: {module} knows no {flag}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_is_there(document: str) -> None:
    tests = said(document, "tests/")
    assert tests
    for test in tests:
        assert (ROOT / test).is_file(), test


def test_every_promise_names_its_check() -> None:
    text = (ROOT / DOCUMENTS[0]).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    for row in rows:
        if not row.startswith("| promise"):
            checks = [code for code in _CODE.findall(row) if re.match("python|pytest|tests/", code)]
            assert checks, row
