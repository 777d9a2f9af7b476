"""Streams that outlive their connection: what a broken one left unanswered is sent again.

The caller's items go into a book, which knows them by number until they are answered. A new
stream is fed with what is in the book first, then with what follows. Every item has one outcome;
one whose answer was lost on the way may be classified twice.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import aclosing, closing
from threading import Lock
from typing import Generic, TypeVar

from client.errors import DeadlineExceededError, UnavailableError
from client.images import ImageSource
from client.results import Outcome

K = TypeVar("K")

Numbered = tuple[int, ImageSource]

# So many streams may break one after the other without having answered anything: an item that
# brings servers down must not be sent for ever.
_MOST_FRUITLESS = 3


class Book(Generic[K]):
    """Items that were taken and are not answered.

    Safe for threads: gRPC's thread takes items, and that of a broken stream may still wait for
    the caller's next one when the new stream begins.
    """

    def __init__(self, items: Iterable[tuple[K, ImageSource]]) -> None:
        self._items = enumerate(items)
        self._open: dict[int, tuple[K, ImageSource]] = {}  # in order
        self._unsent: list[int] = []  # the next one last
        self._stream = 0
        self._failure: Exception | None = None
        self._taking = Lock()  # held while the caller's items are waited for
        self._lock = Lock()

    def feed(self) -> Iterator[Numbered]:
        """Yield the items of a new stream."""
        with self._lock:
            self._stream += 1
            stream = self._stream
            self._unsent = sorted(self._open, reverse=True)
        while (item := self._unsent_item(stream) or self._new_item(stream)) is not None:
            yield item

    def settle(self, outcome: Outcome[int]) -> Outcome[K]:
        """Close an item and return its outcome under the caller's key."""
        with self._lock:
            key, _ = self._open.pop(outcome.key)
        return Outcome(key, outcome.classification, outcome.error, outcome.round_trip_us)

    def _unsent_item(self, stream: int) -> Numbered | None:
        with self._lock:
            if stream != self._stream or not self._unsent:
                return None
            number = self._unsent.pop()
            return number, self._open[number][1]

    def _new_item(self, stream: int) -> Numbered | None:
        with self._taking:
            if self._failure is not None:
                raise self._failure
            left = self._unsent_item(stream)  # by the stream before, which was about to take it
            if left is not None or stream != self._stream:
                return left
            try:
                number, item = next(self._items)
            except StopIteration:
                return None
            except Exception as error:
                self._failure = error  # the stream that hears it may be over
                raise
            with self._lock:
                self._open[number] = item
                if stream == self._stream:
                    return number, item[1]
                self._unsent.insert(0, number)
                return None


def surviving(
    items: Iterable[tuple[K, ImageSource]],
    stream: Callable[[Iterator[Numbered]], Generator[Outcome[int], None, None]],
    wait: Callable[[], None],
) -> Generator[Outcome[K], None, None]:
    """Yield the outcome of every item, over as many streams as it takes.

    Args:
        items: Pairs of a key and an image.
        stream: Runs one stream.
        wait: Returns when the server takes requests again; raises DeadlineExceededError if it
            does not.

    Raises:
        UnavailableError: A stream broke and the wait was in vain.
        ClassifyError: A stream failed for another reason.
    """
    book: Book[K] = Book(items)
    fruitless = 0
    while True:
        try:
            with closing(stream(book.feed())) as outcomes:
                for outcome in outcomes:
                    fruitless = 0
                    yield book.settle(outcome)
        except UnavailableError as error:
            fruitless += 1
            if fruitless > _MOST_FRUITLESS:
                raise
            try:
                wait()
            except DeadlineExceededError:
                raise error from None
        else:
            return


class AsyncBook(Generic[K]):
    """The same for asyncio. Belongs to one event loop."""

    def __init__(self, items: AsyncIterator[tuple[K, ImageSource]]) -> None:
        self._items = items
        self._open: dict[int, tuple[K, ImageSource]] = {}
        self._count = 0
        # Outlives the stream that waits for it, so that its end takes no item away.
        self._coming: asyncio.Future[tuple[K, ImageSource] | None] | None = None

    async def feed(self) -> AsyncGenerator[Numbered, None]:
        """Yield the items of a new stream."""
        for number, (_, source) in list(self._open.items()):
            yield number, source
        while (item := await self._next()) is not None:
            number, self._count = self._count, self._count + 1
            self._open[number] = item
            yield number, item[1]

    def settle(self, outcome: Outcome[int]) -> Outcome[K]:
        """Close an item and return its outcome under the caller's key."""
        key, _ = self._open.pop(outcome.key)
        return Outcome(key, outcome.classification, outcome.error, outcome.round_trip_us)

    async def close(self) -> None:
        """Give up waiting for the caller's next item."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.gather(self._coming, return_exceptions=True)

    async def _next(self) -> tuple[K, ImageSource] | None:
        if self._coming is None:
            self._coming = asyncio.ensure_future(_anext(self._items))
        item = await asyncio.shield(self._coming)
        self._coming = None
        return item


async def _anext(items: AsyncIterator[K]) -> K | None:
    return await anext(items, None)


async def async_surviving(
    items: AsyncIterator[tuple[K, ImageSource]],
    stream: Callable[[AsyncIterator[Numbered]], AsyncGenerator[Outcome[int], None]],
    wait: Callable[[], Awaitable[None]],
) -> AsyncGenerator[Outcome[K], None]:
    """Yield the outcome of every item; see ``surviving``.

    Raises:
        UnavailableError: A stream broke and the wait was in vain.
        ClassifyError: A stream failed for another reason.
    """
    book: AsyncBook[K] = AsyncBook(items)
    fruitless = 0
    try:
        while True:
            try:
                async with aclosing(stream(book.feed())) as outcomes:
                    async for outcome in outcomes:
                        fruitless = 0
                        yield book.settle(outcome)
            except UnavailableError as error:
                fruitless += 1
                if fruitless > _MOST_FRUITLESS:
                    raise
                try:
                    await wait()
                except DeadlineExceededError:
                    raise error from None
            else:
                return
    finally:
        await book.close()
