"""The C library's heaps: what a batch frees serves the next one; what stays free goes back.

glibc alone is told so; other C libraries have their own ways.
"""

import asyncio
import ctypes
import sys

_INTERVAL_S = 60.0
# mallopt(3). A thread's heap holds 64 MiB, and larger blocks than half of that cannot lie in one.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_HEAP_BYTES = 64 * 2**20
_NEVER = 2**31 - 1


def hold_heaps() -> None:
    """Let threads' heaps keep what is freed in them, until :func:`trim_heaps`.

    By itself glibc returns the end of a heap as soon as it is free: a batch of 8 photos had 40 MB
    mapped and cleared anew by the kernel each time, 5 to 15% of what it took.
    """
    set_option = _libc("mallopt")
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, _HEAP_BYTES // 2)
        set_option(_M_TRIM_THRESHOLD, _NEVER)
        set_option(_M_TOP_PAD, _HEAP_BYTES)  # an empty heap stays, too


def trim_heaps() -> None:
    """Return free pages, of all threads' heaps, to the system; some milliseconds.

    glibc alone can, and does it by itself only at the end of a heap, where something small may
    lie for long: malloc_trim(3).
    """
    trim = _libc("malloc_trim")
    if trim is not None:
        trim(0)


async def tend_heaps(interval_s: float = _INTERVAL_S) -> None:
    """Hold the heaps, and trim them every ``interval_s`` seconds until cancelled.

    In between, what one batch frees serves the next; years of photos leave no holes.
    """
    hold_heaps()
    while True:
        await asyncio.sleep(interval_s)
        await asyncio.to_thread(trim_heaps)


def _libc(name: str) -> "ctypes._FuncPointer | None":
    """A function of the C library; None where it has none of this name."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), name, None)
