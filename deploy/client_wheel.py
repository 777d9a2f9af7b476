"""Builds the client's own wheel: ``python -m deploy.client_wheel FOLDER``.

The project's wheel is 23 MB, nearly all of it bundled models, which a client has no use for. This
one, ``menagerie-client``, holds ``client`` and ``proto`` as they are; its version, dependencies and
extras are those of pyproject.toml. It stands in for ``menagerie``: install the one or the other.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "menagerie-client"
ROOMS = ("client", "proto")
# Those that a command of the client asks for.
EXTRAS = ("bench", "gallery", "parquet", "watch", "web")


def build(output: Path, *, isolated: bool = True) -> Path:
    """Build the wheel into `output` and return its path.

    Args:
        output: A folder; made if there is none.
        isolated: pip fetches the build's own requirements; else they are installed here.

    Raises:
        subprocess.CalledProcessError: pip or setuptools failed; they said why on stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        for room in ROOMS:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / room, source / room, ignore=ignored)
        (source / "pyproject.toml").write_text(_pyproject(), encoding="utf-8")
        shutil.copy(ROOT / "docs" / "sdk.md", source / "README.md")
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        command += [] if isolated else ["--no-build-isolation"]
        command += ["--wheel-dir", str(source / "wheel"), str(source)]
        subprocess.run(command, check=True)  # noqa: S603 - every word is ours
        (wheel,) = (source / "wheel").glob("*.whl")
        output.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(wheel, output))


def _pyproject() -> str:
    """Return the wheel's description: TOML, of which JSON's texts and lists are a part."""
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, setuptools = whole["project"], whole["tool"]["setuptools"]
    packages = [name for name in setuptools["packages"] if name.partition(".")[0] in ROOMS]
    tables = {
        "build-system": whole["build-system"],
        "project": {
            "name": NAME,
            "version": project["version"],
            "description": "Classify images with a Menagerie server: SDK and command line.",
            "readme": "README.md",
            "requires-python": project["requires-python"],
            "dependencies": project["dependencies"],
        },
        "project.optional-dependencies": {
            extra: project["optional-dependencies"][extra] for extra in EXTRAS
        },
        "project.scripts": project["scripts"],
        "tool.setuptools": {"packages": packages},
        "tool.setuptools.package-data": {room: setuptools["package-data"][room] for room in ROOMS},
    }
    return "\n".join(_table(name, content) for name, content in tables.items())


def _table(name: str, content: dict[str, object]) -> str:
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in content.items()]
    return f"[{name}]\n{''.join(lines)}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the client's own wheel.")
    parser.add_argument("folder", type=Path)
    wheel = build(parser.parse_args().folder)
    sys.stdout.write(f"{wheel}: {wheel.stat().st_size / 1e6:.1f} MB\n")
