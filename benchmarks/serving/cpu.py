"""Processor time of a process and everything it started, from /proc."""

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat after the name: parent, then user and system time (man 5 proc).
_PARENT, _USER, _SYSTEM = 1, 11, 12


def cpu_seconds(root: int) -> float:
    """Return the processor time that `root` and its living descendants have used, in seconds."""
    stats = dict(_stats())
    family, grown = {root}, True
    while grown:
        children = {pid for pid, (parent, _) in stats.items() if parent in family}
        grown = not children <= family
        family |= children
    return sum(stats[pid][1] for pid in family if pid in stats) / _TICKS_PER_S


def _stats() -> list[tuple[int, tuple[int, int]]]:
    found = []
    for path in Path("/proc").iterdir():
        if not path.name.isdigit():
            continue
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except (OSError, IndexError):  # it has ended meanwhile
            continue
        ticks = int(fields[_USER]) + int(fields[_SYSTEM])
        found.append((int(path.name), (int(fields[_PARENT]), ticks)))
    return found
