"""What a batch frees serves the next one; what stays free goes back, holes in the heap, too."""

import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import asyncio
from pathlib import Path
from server.heaps import tend_heaps
from server.tasks import beside

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

async def main():
    blocks = [b"x" * 100_000 for _ in range(1000)]
    last = blocks.pop()  # the end of the heap stays in use
    blocks.clear()
    before = resident()
    async with beside(tend_heaps(0.01)), asyncio.timeout(50):
        while resident() > before - 80_000_000:
            await asyncio.sleep(0.01)

asyncio.run(main())
"""

_BATCHES = """
import resource
from concurrent.futures import ThreadPoolExecutor
from server.heaps import hold_heaps

def pages_mapped():
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt

def batches():
    for number in range(20):
        if number == 10:  # as warm as it gets
            began = pages_mapped()
        blocks = [bytearray(12_000_000) for _ in range(3)]
        del blocks
    return pages_mapped() - began

def on_a_thread_of_its_own():
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(batches).result()

before = on_a_thread_of_its_own()
hold_heaps()
after = on_a_thread_of_its_own()
assert 20 * after < before, f"{before} pages were mapped anew, now {after}"
"""

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries keep house in their own ways"
)


def test_what_a_batch_frees_serves_the_next() -> None:
    subprocess.run([sys.executable, "-c", _BATCHES], check=True, timeout=60)


def test_holes_are_given_back_again_and_again() -> None:
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True, timeout=60)
