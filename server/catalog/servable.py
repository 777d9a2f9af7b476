"""One model version that takes requests: decode, batch, compute, name the labels."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import inf

import torch

from models.artifact import Artifact
from models.manifest import Label
from server.pipeline.admission import QueuePolicy
from server.pipeline.batcher import Answer, Batcher, BatchRecord, Drop
from server.pipeline.cores import Allotment
from server.pipeline.cost import CostModel
from server.pipeline.decode import DecodePool, ImageSource
from server.pipeline.engine import Scores, Work
from server.pipeline.lanes import Lanes
from server.pipeline.queue import CloseReason
from server.pipeline.threads import compute_threads
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
        closed_by: Why the batch closed.
        predicted_s: Seconds that the engine's run was predicted to take.
    """

    predictions: tuple[Prediction, ...]
    decode_s: float
    queue_s: float
    engine_s: float
    batch_size: int
    closed_by: CloseReason
    predicted_s: float


@dataclass(frozen=True)
class EngineOptions:
    """How engines run.

    Attributes:
        device: Where.
        precision: Of the body.
        max_batch_size: Most images in a batch.
        max_queue_delay_s: Longest wait for company while an engine is free.
        queue_limit: Most images that may wait.
        policies: What images of each priority may do.
        slo_p99_s: What 99 of 100 answers are to take at most, queue and engine; inf: anything.
        allotment: Threads for each step.
        lanes: The device's, shared by all models.
    """

    device: torch.device
    precision: Precision
    max_batch_size: int
    max_queue_delay_s: float
    queue_limit: int
    policies: Mapping[int, QueuePolicy]
    slo_p99_s: float
    allotment: Allotment
    lanes: Lanes


class Servable:
    """A loaded, warmed and proven model version.

    Create it in the event loop; :meth:`load` does the heavy work elsewhere.
    """

    def __init__(
        self,
        artifact: Artifact,
        engine: TorchScriptEngine,
        cost: CostModel,
        threads: ThreadPoolExecutor,
        decoder: DecodePool,
        options: EngineOptions,
        metrics: Metrics,
    ) -> None:
        self.manifest = artifact.manifest
        self.digest = artifact.digest
        self.dtype = str(engine.dtype).removeprefix("torch.")
        self._engine = engine
        self._threads = threads
        self._cost = cost
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._decoder = decoder
        labels = (self.manifest.name, str(self.manifest.version))
        self._decode_seconds = metrics.decode_seconds.labels(*labels)
        self._queue_seconds = metrics.queue_seconds.labels(*labels)
        self._engine_seconds = metrics.engine_seconds.labels(*labels)
        self._batch_size = metrics.batch_size.labels(*labels)
        self._cost_ratio = metrics.batch_cost_ratio.labels(*labels)
        self._batches = metrics.batches
        self._dropped = metrics.dropped
        self._batcher: Batcher[Work, Scores] = Batcher(
            self._run_batch,
            # An image may come just after a batch has started, and then runs in the next one.
            max_batch_size=cost.largest_within(options.slo_p99_s / 2, options.max_batch_size),
            max_delay_s=options.max_queue_delay_s,
            queue_limit=options.queue_limit,
            policies=_within(options.slo_p99_s, options.policies),
            lanes=options.lanes,
            cost=cost,
            on_batch=self._record,
            on_drop=self._drop,
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
        threads = compute_threads(
            allotment.lanes, f"engine-{artifact.manifest.name}", allotment.threads_per_lane
        )
        try:
            engine = await loop.run_in_executor(
                threads, TorchScriptEngine, artifact, options.device, options.precision
            )
            warm_ups = [
                loop.run_in_executor(threads, engine.warm_up, options.max_batch_size)
                for _ in range(allotment.lanes)
            ]
            measured = await asyncio.gather(*warm_ups)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
        # The lanes were warmed side by side, as they will run.
        cost = CostModel({size: max(one[size] for one in measured) for size in measured[0]})
        return cls(artifact, engine, cost, threads, decoder, options, metrics)

    @property
    def depth(self) -> int:
        """Images that wait for the engine."""
        return self._batcher.depth

    async def classify(
        self,
        source: ImageSource,
        top_k: int,
        min_score: float,
        *,
        priority: int = 0,
        deadline: float = inf,
        client: str = "",
    ) -> Classification:
        """Classify one image.

        Args:
            source: The image.
            top_k: How many labels at most, at least 1.
            min_score: Leaves out labels below it.
            priority: 0 is the most urgent.
            deadline: On the event loop's clock, in seconds.
            client: Whose image it is: clients of one priority take turns.

        Raises:
            ServingError: It cannot be answered; the class says why.
        """
        self._active += 1
        self._idle.clear()
        try:
            deadline = self._batcher.admit(
                priority=priority,
                deadline=deadline,
                client=client,
                before=self._decoder.depth,
                before_s=self._decoder.expected_s,
            )
            started = time.perf_counter()
            image = await self._decoder.decode(source, self.manifest.input, deadline)
            decode_s = time.perf_counter() - started
            answer = await self._batcher.submit(
                Work(image, top_k), priority=priority, deadline=deadline, client=client
            )
        finally:
            self._active -= 1
            if self._active == 0:
                self._idle.set()
        self._decode_seconds.observe(decode_s)
        self._queue_seconds.observe(answer.queue_s)
        return self._classification(answer, min_score, decode_s)

    async def drain(self) -> None:
        """Answer the accepted images and end the threads; the catalog sends no new ones."""
        await self._idle.wait()
        await self._batcher.drain()
        self._threads.shutdown()

    def _classification(
        self, answer: Answer[Scores], min_score: float, decode_s: float
    ) -> Classification:
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
            closed_by=answer.reason,
            predicted_s=answer.predicted_s,
        )

    async def _run_batch(self, batch: Sequence[Work]) -> Sequence[Scores | Exception]:
        outcomes, seconds = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._timed_run, batch
        )
        self._cost.observe(len(batch), seconds)
        return outcomes

    def _timed_run(self, batch: Sequence[Work]) -> tuple[list[Scores | Exception], float]:
        """On the lane's thread, so that a busy event loop is not taken for a slow engine."""
        began = time.perf_counter()
        outcomes = self._engine.run(batch)
        return outcomes, time.perf_counter() - began

    def _record(self, batch: BatchRecord) -> None:
        self._batch_size.observe(batch.size)
        self._engine_seconds.observe(batch.run_s)
        self._batches.labels(self.manifest.name, str(self.manifest.version), batch.reason).inc()
        if batch.predicted_s > 0:
            self._cost_ratio.observe(batch.run_s / batch.predicted_s)

    def _drop(self, reason: Drop) -> None:
        self._dropped.labels(self.manifest.name, str(self.manifest.version), reason).inc()


def _within(slo_p99_s: float, policies: Mapping[int, QueuePolicy]) -> dict[int, QueuePolicy]:
    """The policies, none of which lets an image wait for longer than the objective."""
    return {
        priority: replace(policy, timeout_s=min(policy.timeout_s, slo_p99_s))
        for priority, policy in policies.items()
    }
