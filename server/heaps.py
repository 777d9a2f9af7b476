"""The C library's heaps: what is free in them goes back to the system."""

import asyncio
import ctypes
import sys

_INTERVAL_S = 60.0


def trim_heaps() -> None:
    """Return free pages, of all threads' heaps, to the system; some milliseconds.

    glibc alone can, and does it by itself only at the end of a heap, where something small may
    lie for long: malloc_trim(3).
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


async def keep_trimmed(interval_s: float = _INTERVAL_S) -> None:
    """Trim the heaps every ``interval_s`` seconds until cancelled: years of photos leave holes."""
    while True:
        await asyncio.sleep(interval_s)
        await asyncio.to_thread(trim_heaps)
