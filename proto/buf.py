"""Check the .proto files with buf: ``python -m proto.buf`` (make buf).

Their style and comments, and that nothing breaks clients of what ``baseline.binpb`` promised. After
a release, or a break that is meant, ``python -m proto.buf accept`` makes the present the baseline.
Needs npm, which brings the pinned buf.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from proto.generate import ROOT, sources
from proto.npm import NpmError, installed

BASELINE = ROOT / "proto" / "baseline.binpb"
_STATUS = Path("google/rpc/status.proto")


def install() -> Path:
    """Install buf below build/; returns its command.

    Raises:
        NpmError: There is no npm, or it failed.
    """
    return installed(ROOT / "proto", ROOT / "build" / "buf") / ".bin" / "buf"


def lint(buf: Path, root: Path = ROOT) -> str:
    """What is wrong with the style of the files below ``root``; empty where nothing is."""
    with _workspace(root) as workspace:
        return _run(buf, workspace, "lint")


def breaks(buf: Path, root: Path = ROOT) -> str:
    """What of the files below ``root`` breaks clients of the baseline; empty where nothing does."""
    with _workspace(root) as workspace:
        image = workspace / "now.binpb"
        broken = _build(buf, workspace, image)
        return broken or _run(buf, workspace, "breaking", str(image), "--against", str(BASELINE))


def accept(buf: Path) -> str:
    """Make the present files the baseline; returns what is wrong with them."""
    with _workspace(ROOT) as workspace:
        return _build(buf, workspace, BASELINE)


def _build(buf: Path, workspace: Path, image: Path) -> str:
    return _run(buf, workspace, "build", "--exclude-source-info", "-o", str(image))


@contextmanager
def _workspace(root: Path) -> Iterator[Path]:
    """The modules as ``buf.yaml`` names them."""
    with tempfile.TemporaryDirectory(prefix="menagerie-buf-") as folder:
        workspace = Path(folder)
        google = resources.files("google.rpc").joinpath("status.proto")
        places = {workspace / "ours" / source: root / source for source in sources()}
        places[workspace / "google" / _STATUS] = Path(str(google))
        places[workspace / "buf.yaml"] = ROOT / "proto" / "buf.yaml"
        for target, source in places.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        yield workspace


def _run(buf: Path, workspace: Path, *arguments: str) -> str:
    result = subprocess.run(  # noqa: S603 - nothing of it comes from outside
        [str(buf), *arguments], cwd=workspace, capture_output=True, text=True, check=False
    )
    said = (result.stdout + result.stderr).strip().replace("ours/proto/", "proto/")
    return said or (f"buf ended with {result.returncode}" if result.returncode else "")


def main() -> int:
    """Check, or accept; returns 0 where nothing is wrong."""
    try:
        buf = install()
    except NpmError as error:
        sys.stderr.write(f"buf: {error}\n")
        return 2
    checks = (accept,) if sys.argv[1:] == ["accept"] else (lint, breaks)
    wrong = [said for check in checks if (said := check(buf))]
    sys.stderr.write("".join(f"{said}\n" for said in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
