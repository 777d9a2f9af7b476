"""Threads that compute, beside the event loop that must not wait for them."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import torch

_NICEST = 19
_NICENESS = 10  # below the event loop's: under overload it must still refuse at once


def spare_thread(name: str) -> ThreadPoolExecutor:
    """One thread that computes only on processors for which nothing else has work: sched(7),
    SCHED_IDLE. Where there is no such policy it is as nice as can be on Linux."""
    return ThreadPoolExecutor(1, thread_name_prefix=name, initializer=_stand_back)


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


def _stand_back() -> None:
    torch.set_num_threads(1)
    if sys.platform != "linux":
        return
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICEST)
    with suppress(OSError):  # a sandbox may not know the policy
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))


def _niceness() -> int:
    return min(_NICEST, os.getpriority(os.PRIO_PROCESS, os.getpid()) + _NICENESS)
