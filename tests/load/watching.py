"""What a server process holds, and what its counters say."""

import re
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_REQUESTS = re.compile(r"^menagerie_requests_total\{(.*)\} ([0-9.e+]+)", re.MULTILINE)
_CAPTURED = re.compile(r'^menagerie_captured_total\{outcome="(\w+)"\} ([0-9.e+]+)', re.MULTILINE)
_CODE = re.compile(r'code="([A-Z_]+)"')


@dataclass(frozen=True)
class Holdings:
    """What a process holds: resident memory in bytes, file descriptors, threads."""

    rss_bytes: int
    descriptors: int
    threads: int


def holdings(process_id: int) -> Holdings:
    """What the process holds now (proc(5))."""
    root = Path(f"/proc/{process_id}")
    status = (root / "status").read_text(encoding="ascii", errors="replace")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return Holdings(
        rss_bytes=int(fields["VmRSS"].split()[0]) * 1024,
        descriptors=len(list((root / "fd").iterdir())),
        threads=int(fields["Threads"]),
    )


def counted(metrics_address: str) -> Counter[str]:
    """Requests that the server counted, by code."""
    counts: Counter[str] = Counter()
    for labels, value in _REQUESTS.findall(_metrics(metrics_address)):
        code = _CODE.search(labels)
        assert code is not None
        counts[code[1]] += int(float(value))
    return counts


def captured(metrics_address: str) -> Counter[str]:
    """Photos that the server would have kept, by what came of it."""
    found = _CAPTURED.findall(_metrics(metrics_address))
    return Counter({outcome: int(float(value)) for outcome, value in found})


def _metrics(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as page:
        return str(page.read().decode())


def processes(parent_id: int, role: str) -> list[int]:
    """The ids of a server's processes of a role: "front" or "engine"."""
    children = Path(f"/proc/{parent_id}/task/{parent_id}/children").read_text().split()
    return [int(child) for child in children if role in _arguments(child)]


def _arguments(process_id: str) -> list[str]:
    try:
        return Path(f"/proc/{process_id}/cmdline").read_text().split("\0")
    except OSError:  # it has just ended
        return []
