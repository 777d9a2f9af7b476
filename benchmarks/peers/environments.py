"""A virtual environment for each peer, outside the repository.

torch is large, so it is not installed again: a .pth file adds the packages of the interpreter that
makes the environments, after the peer's own. A peer that needs another version of something has it
in its own environment, which comes first.
"""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
_SHARED = "zz_shared.pth"


class SetupError(Exception):
    """A peer's requirements did not install; the message holds the end of pip's output."""


def folder(name: str) -> Path:
    """Return where the environment of a peer is, or would be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "menagerie" / "peers" / name


def python(name: str) -> Path:
    """Return the interpreter of a peer's environment."""
    return folder(name) / "bin" / "python"


def is_set_up(name: str) -> bool:
    """Tell whether the environment was made from the requirements as they are now."""
    stamp = folder(name) / "requirements.txt"
    return stamp.is_file() and stamp.read_bytes() == _requirements(name).read_bytes()


def set_up(name: str) -> None:
    """Make the environment anew.

    Raises:
        SetupError: The requirements do not install here.
    """
    home = folder(name)
    venv.create(home, clear=True, with_pip=True)
    inside = {"base": str(home), "platbase": str(home)}
    packages = Path(sysconfig.get_path("purelib", "venv", inside))
    (packages / _SHARED).write_text(sysconfig.get_path("purelib") + "\n")
    command = [python(name), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip = subprocess.run(
        [*command, "-r", _requirements(name)], capture_output=True, text=True, check=False
    )
    if pip.returncode:
        raise SetupError(pip.stderr[-2000:])
    (home / "requirements.txt").write_bytes(_requirements(name).read_bytes())


def version(name: str, package: str) -> str:
    """Return the version of a package in a peer's environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    found = subprocess.run([python(name), "-c", code], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def library_path() -> str:
    """Return where this interpreter's own libpython is, for servers that embed Python."""
    return sysconfig.get_config_var("LIBDIR") or str(Path(sys.base_prefix) / "lib")


def _requirements(name: str) -> Path:
    return HERE / name / "requirements.txt"
