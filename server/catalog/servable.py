"""One model version that takes requests: decode, batch, compute, name the labels."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf

import torch

from models.artifact import Artifact
from models.manifest import Label
from server.pipeline.batcher import Batcher, BatchRecord
from server.pipeline.cores import Allotment
from server.pipeline.decode import DecodePool, ImageSource
from server.pipeline.engine import Scores, Work
from server.pipeline.torchscript import Precision, TorchScriptEngine
from server.telemetry.metrics import Metrics


@dataclass(frozen=True)
class Prediction:
    """A label with its position in the output and its calibrated probability."""

    index: int
    label: Label
    score: float


@dataclass(frozen=True)
class Classification:
    """The answer for one image.

    Attributes:
        predictions: Best first.
        decode_s: Seconds waiting for a decoder and decoding.
        queue_s: Seconds waiting for the batch and the engine.
        engine_s: Seconds of the engine's run over the batch.
        batch_size: Images in the batch.
    """

    predictions: tuple[Prediction, ...]
    decode_s: float
    queue_s: float
    engine_s: float
    batch_size: int


@dataclass(frozen=True)
class EngineOptions:
    """How engines run.

    Attributes:
        device: Where.
        precision: Of the body.
        max_batch_size: Most images in a batch.
        max_queue_delay_s: Longest wait for company while an engine is free.
        queue_limit: Most images that may wait.
        allotment: Threads for each step.
    """

    device: torch.device
    precision: Precision
    max_batch_size: int
    max_queue_delay_s: float
    queue_limit: int
    allotment: Allotment


class Servable:
    """A loaded, warmed and proven model version.

    Create it in the event loop; :meth:`load` does the heavy work elsewhere.
    """

    def __init__(
        self,
        artifact: Artifact,
        engine: TorchScriptEngine,
        lanes: ThreadPoolExecutor,
        decoder: DecodePool,
        options: EngineOptions,
        metrics: Metrics,
    ) -> None:
        self.manifest = artifact.manifest
        self.digest = artifact.digest
        self.dtype = str(engine.dtype).removeprefix("torch.")
        self._engine = engine
        self._lanes = lanes
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._decoder = decoder
        labels = (self.manifest.name, str(self.manifest.version))
        self._decode_seconds = metrics.decode_seconds.labels(*labels)
        self._queue_seconds = metrics.queue_seconds.labels(*labels)
        self._engine_seconds = metrics.engine_seconds.labels(*labels)
        self._batch_size = metrics.batch_size.labels(*labels)
        self._batches = metrics.batches
        self._batcher: Batcher[Work, Scores] = Batcher(
            self._run_batch,
            max_batch_size=options.max_batch_size,
            max_delay_s=options.max_queue_delay_s,
            queue_limit=options.queue_limit,
            lanes=options.allotment.lanes,
            on_batch=self._record,
        )

    @classmethod
    async def load(
        cls, artifact: Artifact, decoder: DecodePool, options: EngineOptions, metrics: Metrics
    ) -> "Servable":
        """Load and warm an artifact on threads of its own.

        Raises:
            ArtifactError: The module does not load or fails its golden samples.
        """
        allotment = options.allotment
        loop = asyncio.get_running_loop()
        lanes = ThreadPoolExecutor(
            allotment.lanes,
            thread_name_prefix=f"engine-{artifact.manifest.name}",
            initializer=torch.set_num_threads,
            initargs=(allotment.threads_per_lane,),
        )
        try:
            engine = await loop.run_in_executor(
                lanes, TorchScriptEngine, artifact, options.device, options.precision
            )
            warm_ups = [
                loop.run_in_executor(lanes, engine.warm_up, options.max_batch_size)
                for _ in range(allotment.lanes)
            ]
            await asyncio.gather(*warm_ups)
        except BaseException:
            lanes.shutdown(wait=False, cancel_futures=True)
            raise
        return cls(artifact, engine, lanes, decoder, options, metrics)

    @property
    def depth(self) -> int:
        """Images that wait for the engine."""
        return self._batcher.depth

    async def classify(
        self, source: ImageSource, top_k: int, min_score: float, deadline: float = inf
    ) -> Classification:
        """Classify one image.

        Args:
            source: The image.
            top_k: How many labels at most, at least 1.
            min_score: Leaves out labels below it.
            deadline: On the event loop's clock, in seconds.

        Raises:
            ServingError: It cannot be answered; the class says why.
        """
        self._active += 1
        self._idle.clear()
        try:
            return await self._classify(source, top_k, min_score, deadline)
        finally:
            self._active -= 1
            if self._active == 0:
                self._idle.set()

    async def drain(self) -> None:
        """Answer the accepted images and end the threads; the catalog sends no new ones."""
        await self._idle.wait()
        await self._batcher.drain()
        self._lanes.shutdown()

    async def _classify(
        self, source: ImageSource, top_k: int, min_score: float, deadline: float
    ) -> Classification:
        started = time.perf_counter()
        image = await self._decoder.decode(source, self.manifest.input)
        decode_s = time.perf_counter() - started
        answer = await self._batcher.submit(Work(image, top_k), deadline=deadline)
        self._decode_seconds.observe(decode_s)
        self._queue_seconds.observe(answer.queue_s)
        pairs = zip(answer.result.indices, answer.result.values, strict=True)
        return Classification(
            predictions=tuple(
                Prediction(index, self.manifest.labels[index], score)
                for index, score in pairs
                if score >= min_score
            ),
            decode_s=decode_s,
            queue_s=answer.queue_s,
            engine_s=answer.run_s,
            batch_size=answer.batch_size,
        )

    async def _run_batch(self, batch: Sequence[Work]) -> Sequence[Scores | Exception]:
        return await asyncio.get_running_loop().run_in_executor(
            self._lanes, self._engine.run, batch
        )

    def _record(self, batch: BatchRecord) -> None:
        self._batch_size.observe(batch.size)
        self._engine_seconds.observe(batch.run_s)
        self._batches.labels(self.manifest.name, str(self.manifest.version), batch.reason).inc()
