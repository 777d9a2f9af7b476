"""Ids for requests that come without one: 128 random bits in hexadecimal digits."""

import os
from collections.abc import Iterator

_ID_BYTES = 16
_IDS_AT_ONCE = 256  # asking the operating system for each costs more than all the rest of it


class _Ids:
    """Ids that no other process has, from whatever thread they are taken."""

    def __init__(self) -> None:
        self._ready: Iterator[str] = iter(())

    def take(self) -> str:
        while (found := next(self._ready, "")) == "":
            digits = os.urandom(_ID_BYTES * _IDS_AT_ONCE).hex()
            length = 2 * _ID_BYTES
            # Two threads that come here together waste some, and share none.
            self._ready = iter([digits[at : at + length] for at in range(0, len(digits), length)])
        return found

    def forget(self) -> None:
        """Start anew: a process that was forked has the same ones ready."""
        self._ready = iter(())


_ids = _Ids()
os.register_at_fork(after_in_child=_ids.forget)


def new_request_id() -> str:
    """An id that no other request has."""
    return _ids.take()
