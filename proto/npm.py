"""Install what a package.json pins, once, into a folder of its own. Needs npm."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

_FILES = ("package.json", "package-lock.json")


class NpmError(Exception):
    """npm is not there, or could not install; the message says which."""


def installed(package: Path, target: Path) -> Path:
    """Install what ``package`` pins into ``target``, unless that has been done.

    No package's own scripts are run.

    Args:
        package: A folder with package.json and, where that has dependencies of its own,
            package-lock.json.
        target: Is made where it does not exist.

    Returns:
        ``target/node_modules``.

    Raises:
        NpmError: There is no npm, or it failed: its registry cannot be reached, for example.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise NpmError("npm is not installed")
    files = [path for path in map(package.joinpath, _FILES) if path.is_file()]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    stamp = target / ".installed"
    if stamp.is_file() and stamp.read_text() == digest:
        return target / "node_modules"
    # Beside first: another process may install as well, or this one be killed.
    beside = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        beside.mkdir(parents=True)
        for path in files:
            shutil.copy(path, beside)
        command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"]
        result = subprocess.run(  # noqa: S603 - nothing of it comes from outside
            command, cwd=beside, capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            raise NpmError(f"npm install failed: {result.stderr.strip()[-500:]}")
        (beside / ".installed").write_text(digest)
        shutil.rmtree(target, ignore_errors=True)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target / "node_modules"
