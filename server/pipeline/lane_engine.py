"""A model version's engine on the threads of its lanes, with what its batches take.

TorchScript loads first and serves at once; a compiled engine may take over later.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from models.artifact import Artifact
from models.manifest import CHANNELS, Int8
from server.errors import EngineMemoryError
from server.pipeline.brownout import Shrunk
from server.pipeline.compiled import CompiledEngine
from server.pipeline.cores import Allotment
from server.pipeline.cuda import CudaEngine, first_engine
from server.pipeline.engine import Engine, Scores, Work
from server.pipeline.machine import machine_facts
from server.pipeline.memory_pressure import MemoryPressure
from server.pipeline.race import speedups
from server.pipeline.shrinking import Shrinking
from server.pipeline.threads import compute_threads
from server.pipeline.torchscript import Precision, TorchScriptEngine
from server.pipeline.tuning import Facts, TuningStore
from server.pipeline.warm_up import Seconds, Tuning, warmed

EngineName = Literal["torchscript", "cuda_graphs", "compiled", "int8"]


class LaneEngine:
    """Runs batches on threads of its own; see :meth:`load`.

    Attributes:
        name: Which engine serves.
        cost: What batches take, kept current.
        tuned: How that is known.
        smaller: Inputs that may be used where there is no time for whole ones, largest first.
        memory: What is still tried after it ran out.
        dtype: Of the body.
    """

    def __init__(
        self,
        artifact: Artifact,
        scripted: TorchScriptEngine,
        engine: TorchScriptEngine | CudaEngine,
        tuning: Tuning,
        threads: ThreadPoolExecutor,
        lanes: int,
        max_batch_size: int,
        smaller: Sequence[Shrunk] = (),
    ) -> None:
        self.smaller = tuple(smaller)
        self.cost = tuning.cost
        self.tuned = tuning.source
        self.dtype = scripted.dtype
        self._engine: Engine = engine
        self.name: EngineName = "torchscript" if engine is scripted else "cuda_graphs"
        largest = engine.largest if isinstance(engine, CudaEngine) else max_batch_size
        self.memory = MemoryPressure(largest)
        self._scripted = scripted
        self._threads = threads
        self._lanes = lanes
        self._max_batch_size = max_batch_size
        spec = artifact.manifest.input
        self._image = torch.zeros((CHANNELS, spec.height, spec.width), dtype=torch.uint8)

    @classmethod
    async def load(
        cls,
        artifact: Artifact,
        device: torch.device,
        precision: Precision,
        max_batch_size: int,
        allotment: Allotment,
        store: TuningStore | None = None,
        sides: Sequence[int] = (),
    ) -> "LaneEngine":
        """Load and warm TorchScript on all lanes; on a GPU as CUDA graphs.

        Args:
            artifact: Verified.
            device: Where it runs.
            precision: Of the body.
            max_batch_size: The largest batch.
            allotment: Lanes and their threads.
            store: Of earlier measurements of batch times; None: measure.
            sides: Of smaller inputs, pixels, that may be used if the artifact admits them.

        Raises:
            ArtifactError: The module does not load or fails its golden samples.
        """
        loop = asyncio.get_running_loop()
        threads = compute_threads(
            allotment.lanes, f"engine-{artifact.manifest.name}", allotment.threads_per_lane
        )
        try:
            scripted = await loop.run_in_executor(
                threads, TorchScriptEngine, artifact, device, precision
            )
            started = await loop.run_in_executor(
                threads, first_engine, scripted, artifact, max_batch_size, allotment.lanes
            )
            facts = _facts(artifact, device, scripted.dtype, max_batch_size, allotment)
            on_lanes = partial(_on_lanes, loop, threads, allotment.lanes)
            lanes = allotment.lanes
            tuning = await warmed(started, max_batch_size, lanes, on_lanes, store, facts)
            smaller = await Shrinking(
                artifact, scripted, started, tuning.cost, max_batch_size, threads, store, facts
            ).allowed(sides)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
        return cls(artifact, scripted, started, tuning, threads, lanes, max_batch_size, smaller)

    async def run_batch(self, batch: Sequence[Work]) -> Sequence[Scores | Exception]:
        """Scores for each image, or why there are none, in order.

        Raises:
            EngineMemoryError: There is not enough memory for the batch.
            Exception: The batch as a whole failed.
        """
        with _traced(batch):
            return await self._compute(batch)

    async def run_aside(self, work: Work, threads: Executor | None) -> Scores | Exception:
        """What TorchScript says of an image that stands back behind all others.

        What batches take is not learned from it, since it may have to wait for a processor.

        Args:
            work: The image.
            threads: Where it is computed; None: on a lane's thread.
        """
        pool = self._threads if threads is None else threads
        loop = asyncio.get_running_loop()
        (outcome,) = await loop.run_in_executor(pool, self._scripted.run, [work])
        return outcome

    async def run_shrunk(
        self, shrunk: Shrunk, batch: Sequence[Work]
    ) -> Sequence[Scores | Exception]:
        """As :meth:`run_batch`, on a smaller input."""
        with _traced(batch):
            engine = shrunk.engine
            outcomes, seconds = await self._timed(engine, batch)
            if engine is shrunk.engine:
                shrunk.cost.observe(len(batch), seconds)
            return outcomes

    async def prepare_compiled(
        self, artifact: Artifact, libraries: Mapping[str, Path], int8: Int8 | None
    ) -> CompiledEngine:
        """A compiled engine that may take over; see there.

        Raises:
            EngineError: A library cannot be used.
            GoldenMismatchError: It does not reproduce the golden samples.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._threads,
            CompiledEngine,
            artifact,
            libraries,
            self._lanes,
            self._scripted,
            int8,
        )

    async def feature_shape(self) -> tuple[int, ...]:
        """Of one image's last feature map, [c, h', w']."""
        features, _ = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._scripted.features_and_logits, self._image[None]
        )
        return tuple(features.shape[1:])

    async def race(self, engine: Engine) -> dict[int, float]:
        """How many times faster ``engine`` is than the one that serves, by batch size."""
        loop = asyncio.get_running_loop()
        return await speedups(
            self._engine,
            engine,
            self._image,
            self._max_batch_size,
            lambda run: loop.run_in_executor(self._threads, run),
        )

    def take_over(
        self, engine: Engine, gains: Mapping[int, float], name: EngineName = "compiled"
    ) -> None:
        """Compute the batches from the next one on with ``engine``.

        Args:
            engine: Proven to give the same scores.
            gains: How many times faster it is, by batch size.
            name: Its name.
        """
        self._engine = engine
        self.name = name
        self.cost.speed_up(gains)

    def close(self) -> None:
        """End the threads; no batch may run any more."""
        self._threads.shutdown()

    async def _compute(self, batch: Sequence[Work]) -> Sequence[Scores | Exception]:
        engine = self._engine
        outcomes, seconds = await self._timed(engine, batch)
        if engine is self._engine:  # a batch of the engine before says nothing about this one
            self.cost.observe(len(batch), seconds)
        return outcomes

    async def _timed(
        self, engine: Engine, batch: Sequence[Work]
    ) -> tuple[list[Scores | Exception], float]:
        loop = asyncio.get_running_loop()
        try:
            timed = await loop.run_in_executor(self._threads, _timed_run, engine, batch)
        except EngineMemoryError:
            self.memory.ran_out(len(batch))
            raise
        self.memory.went_well()
        return timed


def _traced(batch: Sequence[Work]) -> AbstractContextManager[None]:
    traces = [work.trace for work in batch if work.trace is not None]
    return traces[0].batch(traces, len(batch)) if traces else nullcontext()


async def _on_lanes(
    loop: asyncio.AbstractEventLoop,
    threads: ThreadPoolExecutor,
    lanes: int,
    call: Callable[[int], Seconds],
) -> list[Seconds]:
    return await asyncio.gather(*(loop.run_in_executor(threads, call, at) for at in range(lanes)))


def _facts(
    artifact: Artifact,
    device: torch.device,
    dtype: torch.dtype,
    max_batch_size: int,
    allotment: Allotment,
) -> Facts:
    """All that batch times depend on, but for the neighbours."""
    return {
        "measured": "seconds by batch size",
        "artifact": artifact.digest,
        "dtype": str(dtype),
        "max_batch_size": max_batch_size,
        "lanes": allotment.lanes,
        "threads": allotment.threads_per_lane,
        **machine_facts(device),
    }


def _timed_run(engine: Engine, batch: Sequence[Work]) -> tuple[list[Scores | Exception], float]:
    """On the lane's thread, so that a busy event loop is not taken for a slow engine."""
    began = time.perf_counter()
    try:
        outcomes = engine.run(batch)
    except (torch.OutOfMemoryError, MemoryError) as error:
        torch.cuda.empty_cache()  # what it keeps may be in pieces; does nothing without a GPU
        raise EngineMemoryError("the engine has not enough memory for this image") from error
    return outcomes, time.perf_counter() - began
