"""Python's garbage collector, and what it need not look at."""

import atexit
import gc


def spare_imports() -> None:
    """Leave all that is alive out of every later collection.

    Call it once everything is imported and nothing is loaded yet. torch alone brings 380,000
    objects that live as long as the process: looking at them takes 0.2 s with all threads
    stopped, and requests make that happen again and again.
    """
    gc.freeze()
    atexit.register(gc.unfreeze)  # or libraries complain that the exit leaves their objects behind
