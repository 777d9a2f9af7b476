"""What a server must offer to be put under load: a way to send images and learn what came back."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

OK = "OK"


class Answer(NamedTuple):
    """What became of one image.

    Attributes:
        status: The name of a gRPC status code: OK, UNAVAILABLE, ... Protocols that have other
            words translate.
        batch_size: Images in the batch that it was computed in; 0 if the server does not tell.
    """

    status: str
    batch_size: int = 0


class Sender(Protocol):
    """One connection to a server. Its calls may overlap."""

    async def send(self, images: Sequence[bytes], timeout_s: float) -> Sequence[Answer]:
        """Send one call with these encoded images and return an answer for each.

        A failure is an answer, never an exception; after `timeout_s` seconds it is
        DEADLINE_EXCEEDED.
        """


class Target(Protocol):
    """A server and how to call it. Goes to other processes, so it can be pickled."""

    def open(self) -> AbstractAsyncContextManager[Sender]:
        """Return a new connection, ready inside the block.

        Raises:
            TargetError: There is no connection, when the block is entered.
        """


class TargetError(Exception):
    """No connection to the server; the message says why."""
