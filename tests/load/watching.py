"""What a server process holds, and what its counters say."""

import re
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_REQUESTS = re.compile(r"^menagerie_requests_total\{(.*)\} ([0-9.e+]+)", re.MULTILINE)
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
    with urllib.request.urlopen(f"http://{metrics_address}/metrics", timeout=30) as page:
        text = page.read().decode()
    counts: Counter[str] = Counter()
    for labels, value in _REQUESTS.findall(text):
        code = _CODE.search(labels)
        assert code is not None
        counts[code[1]] += int(float(value))
    return counts
