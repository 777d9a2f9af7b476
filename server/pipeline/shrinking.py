"""Which smaller inputs a loaded engine may use, and what their batches take.

Their gain over the full size is measured by turns, so that a neighbour slows both alike: whether a
size is worth it must not hang on who was busy meanwhile. Gains of an earlier start are taken as
they are, since they hardly depend on neighbours; every size is run once all the same.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from models.artifact import Artifact
from models.manifest import CHANNELS
from server.pipeline.brownout import Shrunk, ShrunkEngine, admits
from server.pipeline.cost import CostModel
from server.pipeline.engine import Engine
from server.pipeline.race import raced_sizes, speedups
from server.pipeline.torchscript import TorchScriptEngine
from server.pipeline.tuning import Facts, TuningStore

Result = TypeVar("Result")


@dataclass(frozen=True)
class Shrinking:
    """Tries smaller inputs.

    Attributes:
        artifact: Verified.
        scripted: Its TorchScript engine.
        serving: What serves the full size.
        whole: What batches of the full size take.
        max_batch_size: The largest batch.
        threads: Of the lanes.
        store: Of earlier measurements; None: measure.
        facts: All that these depend on.
    """

    artifact: Artifact
    scripted: TorchScriptEngine
    serving: Engine
    whole: CostModel
    max_batch_size: int
    threads: Executor
    store: TuningStore | None
    facts: Facts

    async def allowed(self, sides: Sequence[int]) -> list[Shrunk]:
        """The smaller of ``sides``, in pixels, that the artifact admits, largest first."""
        whole_side = self.artifact.manifest.input.height
        found: list[Shrunk] = []
        for side in sorted({side for side in sides if side < whole_side}, reverse=True):
            engine = ShrunkEngine(self.scripted, side)
            if await self._on_lane(partial(admits, engine, self.artifact.golden(), side)):
                found.append(Shrunk(side, engine, self._cost(await self._gains(engine, side))))
        return found

    async def _gains(self, engine: ShrunkEngine, side: int) -> Mapping[int, float]:
        """How many times faster it is than the full size, by batch size."""
        sizes = raced_sizes(self.max_batch_size)
        facts = {**self.facts, "measured": "gain over the full size", "side": side}
        saved = await asyncio.to_thread(self.store.find, facts, sizes) if self.store else None
        if saved is not None:
            every = range(1, self.max_batch_size + 1)
            await self._on_lane(lambda: engine.warm_up(every, 1))
            return saved
        spec = self.artifact.manifest.input
        image = torch.zeros((CHANNELS, spec.height, spec.width), dtype=torch.uint8)
        # A GPU computes while its thread waits.
        clock = time.perf_counter if self.scripted.device.type == "cuda" else None
        gains = await speedups(
            self.serving, engine, image, self.max_batch_size, self._on_lane, clock
        )
        if self.store:
            await asyncio.to_thread(self.store.keep, facts, gains)
        return gains

    def _cost(self, gains: Mapping[int, float]) -> CostModel:
        return CostModel({size: self.whole.predict(size) / gain for size, gain in gains.items()})

    async def _on_lane(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self.threads, call)
