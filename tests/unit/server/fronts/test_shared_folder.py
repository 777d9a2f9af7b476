"""What a killed server leaves in memory goes when the next one starts, and nothing else does."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from server.fronts.shared_folder import hold, place, shared_folder, sweep

ROOT = Path(__file__).resolve().parents[4]
OWNER = """
import sys, time
from pathlib import Path
from server.fronts.shared_folder import shared_folder
with shared_folder(Path(sys.argv[1])) as folder:
    (folder / "slots-0").write_bytes(bytes(4096))
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def killed(tmp_path: Path):
    """A folder whose owner was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        sweep(tmp_path)
        assert (folder / "slots-0").exists(), "it was taken from a living process"
        owner.send_signal(signal.SIGKILL)
    return folder


def test_what_a_killed_process_left_is_removed_by_the_next(killed: Path, tmp_path: Path) -> None:
    assert killed.exists()
    with shared_folder(tmp_path) as mine:
        assert not killed.exists()
        assert mine.exists()
    assert list(tmp_path.iterdir()) == []


def test_another_process_that_still_needs_it_keeps_it(killed: Path, tmp_path: Path) -> None:
    descriptor = hold(killed)
    sweep(tmp_path)
    assert (killed / "slots-0").exists()
    os.close(descriptor)
    sweep(tmp_path)
    assert not killed.exists()


def test_nothing_else_is_touched(tmp_path: Path) -> None:
    others = tmp_path / "menagerie-notes"
    others.mkdir()
    (others / "diary").write_text("of somebody")
    target = tmp_path / "target"
    target.mkdir()
    (target / "lock").touch()
    (tmp_path / "menagerie-link").symlink_to(target)
    sweep(tmp_path)
    assert (others / "diary").exists()
    assert (target / "lock").exists()


def test_it_is_private(tmp_path: Path) -> None:
    with shared_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert place().is_dir()
