"""What the batcher's tests share: an engine that the test moves, and a look at what is left."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from server.pipeline.batcher import Batcher
from tests.simulated_clock import simulated_loop


def result_of(item: object) -> str:
    """What a puppet gives for an item, so that a mixed-up answer shows."""
    return f"result of {item}"


class ItemError(Exception):
    """Belongs to one item."""

    def __init__(self, number: int) -> None:
        super().__init__(f"item {number}")
        self.number = number


@dataclass(eq=False)
class PuppetBatch:
    """A batch in the engine.

    Attributes:
        items: What the batcher sent.
        ending: What the engine awaits.
    """

    items: list[object]
    ending: asyncio.Future[Sequence[object]]

    def answer(self, outcomes: Sequence[object] | None = None) -> None:
        """End with outcomes, by default the right ones."""
        self.ending.set_result([result_of(i) for i in self.items] if outcomes is None else outcomes)

    def fail(self, error: BaseException) -> None:
        """End with an error for the whole batch."""
        self.ending.set_exception(error)


@dataclass
class PuppetEngine:
    """Plays ``run_batch``: each batch runs until the test ends it.

    Attributes:
        batches: Every batch so far, in order of arrival.
    """

    batches: list[PuppetBatch] = field(default_factory=list)

    @property
    def running(self) -> list[PuppetBatch]:
        return [batch for batch in self.batches if not batch.ending.done()]

    @property
    def seen(self) -> list[list[object]]:
        """The items of each batch so far."""
        return [batch.items for batch in self.batches]

    async def __call__(self, items: Sequence[object]) -> Sequence[object]:
        batch = PuppetBatch(list(items), asyncio.get_running_loop().create_future())
        self.batches.append(batch)
        return await batch.ending


def nothing_is_left(batcher: Batcher[Any, Any], lanes: int = 1) -> None:
    """No ticket, future, task or timer outlives its purpose."""
    assert batcher.depth == 0
    assert not batcher._futures
    assert not batcher._running
    assert batcher._lanes.free == lanes
    assert simulated_loop().leftovers() == []
