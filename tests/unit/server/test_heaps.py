"""What is free inside the heap goes back; the end of a heap alone would go by itself."""

import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import asyncio
from pathlib import Path
from server.heaps import keep_trimmed
from server.tasks import beside

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

async def main():
    blocks = [b"x" * 100_000 for _ in range(1000)]
    last = blocks.pop()  # the end of the heap stays in use
    blocks.clear()
    before = resident()
    async with beside(keep_trimmed(0.01)), asyncio.timeout(50):
        while resident() > before - 80_000_000:
            await asyncio.sleep(0.01)

asyncio.run(main())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries do not trim")
def test_holes_are_given_back_again_and_again() -> None:
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True, timeout=60)
