"""Whose turn it is among the clients of one priority, and which of a client's items goes first.

Imports nothing but the standard library.
"""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Generic, TypeVar

Item = TypeVar("Item")

_MOST_LEFTOVERS = 64  # turns of nobody, before they are swept out


@dataclass(eq=False)
class _Client(Generic[Item]):
    """One client's items and turns; as many of the one as of the other.

    Attributes:
        items: Deadline, order of arrival, item; the earliest deadline first.
        turns: Tag and order of arrival of each turn, the next first.
    """

    items: list[tuple[float, int, Item]] = field(default_factory=list)
    turns: deque[tuple[float, int]] = field(default_factory=deque)


class FairQueue(Generic[Item]):
    """In turns between clients; of each client's own, the earliest deadline first.

    Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) with items of equal cost: each
    item brings its client a turn, whose tag is the larger of the queue's virtual time and the end
    of the client's last turn, and the smallest tag goes first. A client that sends much waits
    behind itself alone. Which of a client's items takes its turn is another question: the most
    urgent one (Jackson, 1955), and among equals the one that came first.
    """

    def __init__(self) -> None:
        # Tag, order of arrival, client; of those who have left until they are swept out.
        self._heap: list[tuple[float, int, str]] = []
        self._clients: dict[str, _Client[Item]] = {}
        self._place_of: dict[Item, tuple[str, float, int]] = {}  # client, deadline, order
        self._turns: set[int] = set()  # the orders of those that stand
        self._ends: dict[str, float] = {}  # of each client's last turn, in virtual time
        self._virtual = 0.0  # the tag of the turn that was served last
        self._order = count()

    def __len__(self) -> int:
        return len(self._place_of)

    def __contains__(self, item: Item) -> bool:
        return item in self._place_of

    def add(self, item: Item, client: str, deadline: float = inf) -> None:
        """Let an item wait."""
        tag = max(self._virtual, self._ends.get(client, 0.0))
        self._ends[client] = tag + 1.0
        order = next(self._order)
        known = self._clients.setdefault(client, _Client())
        known.turns.append((tag, order))
        self._turns.add(order)
        heappush(self._heap, (tag, order, client))
        self._place_of[item] = client, deadline, order
        insort(known.items, (deadline, order, item), key=_urgency)

    def remove(self, item: Item) -> None:
        """Take out an item that nobody wants any more, and its client's last turn."""
        client = self._take_out(item)
        tag, order = self._clients[client].turns.pop()
        self._turns.discard(order)
        self._ends[client] = tag
        self._sweep(client)

    def in_turn(self, most: int, wanted: Callable[[Item], bool]) -> list[Item]:
        """Up to ``most`` wanted items, whose turn is first first. They still wait."""
        passed: list[tuple[float, int, str]] = []
        found: list[Item] = []
        left: dict[str, Iterator[Item]] = {}
        while self._heap and len(found) < most:
            turn = heappop(self._heap)
            _, order, client = turn
            if order not in self._turns:
                continue
            passed.append(turn)
            if client not in left:
                items = self._clients[client].items
                left[client] = (item for _, _, item in items if wanted(item))
            with suppress(StopIteration):  # all that are left of this client are unwanted
                found.append(next(left[client]))
        for turn in passed:
            heappush(self._heap, turn)
        return found

    def serve(self, item: Item) -> None:
        """Take out an item because it is served now: virtual time goes on to its client's turn."""
        client = self._take_out(item)
        tag, order = self._clients[client].turns.popleft()
        self._turns.discard(order)
        self._virtual = max(self._virtual, tag)
        self._sweep(client)

    def ahead_of(self, client: str, deadline: float = inf) -> int:
        """How many of those that wait have their turn before a new item of ``client``."""
        place = self._place(client, deadline)
        return place + sum(min(waiting, place + 1) for waiting in self._others(client))

    def overtaken_by(self, client: str, deadline: float) -> list[tuple[int, Item]]:
        """Those that would have their turn after a new item of ``client``, though they came first.

        Returns:
            Each with how many would then be ahead of it, in the order of their turns.
        """
        known = self._clients.get(client)
        place = self._place(client, deadline)
        if known is None or place == len(known.items):
            return []
        others = sorted(self._others(client))
        spent, at = 0, 0  # of the others' items: of those that have fewer than it has turns
        overtaken = []
        for own, (_, _, item) in enumerate(known.items[place:], place + 1):
            while at < len(others) and others[at] <= own + 1:
                spent += others[at]
                at += 1
            overtaken.append((own + spent + (len(others) - at) * (own + 1), item))
        return overtaken

    def _place(self, client: str, deadline: float) -> int:
        """How many of the client's own would go before a new item."""
        known = self._clients.get(client)
        return bisect_right(known.items, deadline, key=_deadline) if known else 0

    def _others(self, client: str) -> Iterator[int]:
        """How many items wait of each other client."""
        return (len(one.items) for name, one in self._clients.items() if name != client)

    def _take_out(self, item: Item) -> str:
        client, deadline, order = self._place_of.pop(item)
        items = self._clients[client].items
        del items[bisect_left(items, (deadline, order), key=_urgency)]
        return client

    def _sweep(self, client: str) -> None:
        """Forget what is over, so that nothing grows for ever."""
        if not self._clients[client].items:
            del self._clients[client]
        if not self._place_of:
            self._heap.clear()
            self._ends.clear()
            self._virtual = 0.0
        elif len(self._heap) > 2 * len(self._turns) + _MOST_LEFTOVERS:
            self._heap = [turn for turn in self._heap if turn[1] in self._turns]
            heapify(self._heap)
        if len(self._ends) > 2 * len(self._clients) + _MOST_LEFTOVERS:
            # Who has nothing waiting is behind by one turn at most: not worth remembering.
            self._ends = {name: self._ends[name] for name in self._clients}


def _deadline(entry: tuple[float, int, object]) -> float:
    return entry[0]


def _urgency(entry: tuple[float, int, object]) -> tuple[float, int]:
    return entry[0], entry[1]
