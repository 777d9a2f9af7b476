"""The client's own wheel: everything it needs is in it, and nothing else."""

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.client_wheel import EXTRAS, ROOT
from tests.unit.deploy.test_docker import lay_out

_LARGEST_BYTES = 2**20


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of what the image's stage copies, and of nothing else."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    lay_out("client-wheel", source)
    program = "import sys; from pathlib import Path; from deploy.client_wheel import build\n"
    program += "print(build(Path(sys.argv[1]), isolated=False))"
    built = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return Path(built.stdout.strip())


def python(wheel: Path, *arguments: str) -> str:
    """Run Python with the wheel, and with nothing of the repository."""
    run = subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=wheel.parent,
        env={**os.environ, "PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def modules(names: Sequence[str]) -> list[str]:
    return [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in names
        if name.endswith(".py") and not name.endswith("__main__.py") and name != "proto/generate.py"
    ]


def test_it_holds_the_client_and_the_contract_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if "dist-info" not in name} == {
        *("client", "proto")
    }
    for room in ("client", "proto"):
        kept = (path.relative_to(ROOT).as_posix() for path in (ROOT / room).rglob("*.py"))
        assert set(kept) <= set(names)
    assert {"client/cli/gallery.html", "client/web/static/index.html", "client/py.typed"} <= {
        *names
    }
    assert wheel.stat().st_size < _LARGEST_BYTES


def test_every_module_loads_from_it_without_the_other_rooms(wheel: Path) -> None:
    names = modules(zipfile.ZipFile(wheel).namelist())
    program = (
        "import sys; from importlib import import_module\n"
        f"for name in {names}: import_module(name)\n"
        "import client; print(client.__file__)\n"
        "print(*sorted({'models', 'server', 'trainer', 'torch'} & set(sys.modules)))"
    )
    home, others = python(wheel, "-c", program).splitlines()
    assert home.startswith(str(wheel))
    assert others == ""


def test_its_command_helps(wheel: Path) -> None:
    assert "Classify images." in python(wheel, "-m", "client", "--help")


def test_its_extras_are_those_that_the_client_names() -> None:
    named = {
        extra
        for path in (ROOT / "client").rglob("*.py")
        for extra in re.findall(r"\bhint\('(\w+)'\)", path.read_text(encoding="utf-8"))
    }
    assert named == set(EXTRAS)
