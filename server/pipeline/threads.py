"""Threads that compute, beside the event loop that must not wait for them."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import torch

_NICENESS = 10  # below the event loop's: under overload it must still refuse at once


def compute_threads(count: int, name: str, torch_threads: int) -> ThreadPoolExecutor:
    """A pool of threads that give way to the event loop.

    Args:
        count: How many.
        name: Prefix of their names.
        torch_threads: Threads that torch uses for one operation of each.
    """
    return ThreadPoolExecutor(
        count, thread_name_prefix=name, initializer=_begin, initargs=(torch_threads,)
    )


def _begin(torch_threads: int) -> None:
    torch.set_num_threads(torch_threads)
    if sys.platform == "linux":  # where priorities are of threads: sched(7)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _niceness())


def _niceness() -> int:
    return min(19, os.getpriority(os.PRIO_PROCESS, os.getpid()) + _NICENESS)
