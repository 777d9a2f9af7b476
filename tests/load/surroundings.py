"""Where a server is started so that faults can reach it: small disks, a clock that can be moved.

Both are commands that end by executing their arguments. Disks are tmpfs in a mount namespace of
the server's own. Its wall clock is moved by a library of thirty lines that is put before libc
(wall_clock.c): a time namespace has clocks of its own for everything but the wall clock, and
libfaketime moves waits along with it, which no clock that is set ever does.
"""

import mmap
import struct
import subprocess
from pathlib import Path
from shutil import which

_SMALL_DISK = ("unshare", "--map-root-user", "--mount", "sh", "-c")
_CAPTURE_SIZE = "16k"
_LOG_SIZE = "64m"
# What is logged goes to the disk, and from there to whoever started this.
_MOUNTS = (
    f'mount -t tmpfs -o size={_CAPTURE_SIZE} none "$0" && mount -t tmpfs -o size={_LOG_SIZE} none'
    ' "$1" && log="$1/log" && shift && : >"$log" && { tail -n +1 -s 0.1 -f --pid=$$ "$log" >&2 & }'
    ' && exec "$@" 2>>"$log"'
)
_SOURCE = Path(__file__).with_name("wall_clock.c")


class SmallDisks:
    """A disk of 16 KiB for what is captured, and one of 64 MiB for the log.

    Args:
        root: Gets a folder for each.

    Attributes:
        prefix: What starts a command with them; empty where none may be made.
        capture: The folder of the first.
    """

    def __init__(self, root: Path) -> None:
        self.capture, self._log = root / "capture", root / "log"
        self.capture.mkdir()
        self._log.mkdir()
        prefix = (*_SMALL_DISK, _MOUNTS, str(self.capture), str(self._log))
        # Its stderr stays open for what is still read of the log: nobody waits for its end here.
        allowed = (
            which("unshare") is not None
            and not subprocess.run(
                [*prefix, "true"], stderr=subprocess.DEVNULL, check=False
            ).returncode
        )
        self.prefix = prefix if allowed else ()

    def fill_log(self, process_id: int) -> Path:
        """Take all the room where the process logs; returns the file that holds it."""
        ballast = Path(f"/proc/{process_id}/root{self._log.resolve()}/ballast")
        try:
            with ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(2**20))
                    file.flush()
        except OSError:  # the disk is full
            pass
        return ballast


class WallClock:
    """A wall clock that is moved while a process looks at it.

    Args:
        folder: For what it needs.

    Attributes:
        prefix: What starts a command with it; empty where there is no compiler.
    """

    def __init__(self, folder: Path) -> None:
        library, self._offset = folder / "wall_clock.so", folder / "wall_clock"
        self._offset.write_bytes(struct.pack("d", 0.0))
        self.prefix: tuple[str, ...] = ()
        if which("cc") is not None:
            command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"]
            subprocess.run(command, check=True, capture_output=True)
            self.prefix = ("env", f"LD_PRELOAD={library}", f"WALL_CLOCK={self._offset}")

    def set(self, seconds: float) -> None:
        """Set it so far from the right time, at once."""
        with self._offset.open("r+b") as file, mmap.mmap(file.fileno(), 0) as page:
            page[:] = struct.pack("d", seconds)
