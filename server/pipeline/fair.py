"""Whose turn it is among the clients of one priority.

Imports nothing but the standard library.
"""

from collections import Counter
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item")

_MOST_LEFTOVERS = 64  # entries that stand for nobody, before they are swept out


class FairQueue(Generic[Item]):
    """First in first out for each client, in turns between clients.

    Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) with items of equal cost: an
    item's tag is the larger of the queue's virtual time and the end of its client's last item,
    and the smallest tag goes first. A client that sends much waits behind itself alone.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []  # tag, order of arrival, item
        self._client_of: dict[Item, str] = {}
        self._tag_of: dict[Item, float] = {}
        self._waiting: Counter[str] = Counter()
        self._ends: dict[str, float] = {}  # of each client's last item, in virtual time
        self._virtual = 0.0  # the tag of the item that was served last
        self._order = count()

    def __len__(self) -> int:
        return len(self._client_of)

    def __contains__(self, item: Item) -> bool:
        return item in self._client_of

    def add(self, item: Item, client: str) -> None:
        """Let an item wait."""
        tag = max(self._virtual, self._ends.get(client, 0.0))
        self._ends[client] = tag + 1.0
        self._client_of[item], self._tag_of[item] = client, tag
        self._waiting[client] += 1
        heappush(self._heap, (tag, next(self._order), item))

    def remove(self, item: Item) -> None:
        """Take out an item that waits and that nobody wants any more."""
        client = self._client_of.pop(item)
        del self._tag_of[item]
        self._waiting[client] -= 1
        if self._waiting[client] == 0:
            del self._waiting[client]
        self._sweep()

    def in_turn(self, most: int, wanted: Callable[[Item], bool]) -> list[Item]:
        """Up to ``most`` wanted items, whose turn is first first. They still wait."""
        passed: list[tuple[float, int, Item]] = []
        found: list[Item] = []
        while self._heap and len(found) < most:
            entry = heappop(self._heap)
            if entry[2] in self._client_of:
                passed.append(entry)
                if wanted(entry[2]):
                    found.append(entry[2])
        for entry in passed:
            heappush(self._heap, entry)
        return found

    def serve(self, item: Item) -> None:
        """Take out an item because it is served now: virtual time goes on to its turn."""
        self._virtual = max(self._virtual, self._tag_of[item])
        self.remove(item)

    def ahead_of(self, client: str) -> int:
        """How many of those that wait have their turn before a new item of ``client``."""
        turns = self._waiting[client] + 1
        return sum(min(waiting, turns) for waiting in self._waiting.values())

    def _sweep(self) -> None:
        """Forget what is over, so that nothing grows for ever."""
        if not self._client_of:
            self._heap.clear()
            self._ends.clear()
            self._virtual = 0.0
        elif len(self._heap) > 2 * len(self._client_of) + _MOST_LEFTOVERS:
            self._heap = [entry for entry in self._heap if entry[2] in self._client_of]
            heapify(self._heap)
        if len(self._ends) > 2 * len(self._waiting) + _MOST_LEFTOVERS:
            # Who has nothing waiting is behind by one turn at most: not worth remembering.
            self._ends = {name: self._ends[name] for name in self._waiting}
