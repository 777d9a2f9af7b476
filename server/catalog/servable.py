"""One model version that takes requests: decode, batch, compute, name the labels."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from math import inf

import torch
from torch import Tensor

from models.artifact import Artifact
from models.overlay import overlay_png
from server.catalog.classification import Classification, ExplainWish, Explanation
from server.catalog.options import EngineOptions
from server.catalog.reading import Reader
from server.catalog.tally import BatchTally
from server.catalog.version_metrics import VersionMetrics
from server.catalog.watch import Watch
from server.errors import DeadlineExpiredError, QueueFullError
from server.pipeline.batcher import Answer, Batcher, BatchRecord, Drop, Smaller
from server.pipeline.brownout import worthwhile
from server.pipeline.compiled import CompiledEngine
from server.pipeline.decode import DecodePool, ImageSource, MeasuredImage, measuring
from server.pipeline.engine import Activation, Scores, Work
from server.pipeline.lane_engine import EngineName, LaneEngine
from server.pipeline.views import Quality, averaged, views_of, works_of
from server.telemetry.current_trace import current_trace
from server.telemetry.metrics import Metrics

_LEAST_OVERLAY_SIDE = 224  # pixels: smaller ones say little to people
_NO_SET = 2.0  # no label has such a score


@dataclass(frozen=True)
class Capacity:
    """What a version can do here.

    Attributes:
        batch_seconds: Seconds of a batch by its size, as predicted now.
        lanes: Batches that the device computes at the same time, of all its models.
        max_batch_size: Most images in a batch.
        device: Where.
        decode_s: Seconds of one decoder for an image; 0: not known.
        decoders: Images decoded at the same time.
    """

    batch_seconds: Mapping[int, float]
    lanes: int
    max_batch_size: int
    device: str
    decode_s: float
    decoders: int


class _Busy:
    """Around whatever must end before a version has drained: any number of with blocks."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __enter__(self) -> None:
        self._count += 1
        self._idle.clear()

    def __exit__(self, *_error: object) -> None:
        self._count -= 1
        if self._count == 0:
            self._idle.set()

    async def ended(self) -> None:
        """Return once nothing is inside."""
        await self._idle.wait()


class Servable:
    """A loaded, warmed and proven model version.

    Attributes:
        manifest: Of its artifact.
        digest: SHA-256 of the manifest file.
        dtype: Of the body, as torch names it.
        engine: What computes its batches.
        drained: Whether it has answered its last image.
        tally: Of its batches.

    Create it in the event loop; :meth:`load` does the heavy work elsewhere.
    """

    def __init__(
        self,
        artifact: Artifact,
        engine: LaneEngine,
        decoder: DecodePool,
        options: EngineOptions,
        metrics: Metrics,
    ) -> None:
        self.manifest = artifact.manifest
        self.digest = artifact.digest
        self.dtype = str(engine.dtype).removeprefix("torch.")
        self.engine = engine
        self._options = options
        self.drained = False
        self.tally = BatchTally()
        self._busy = _Busy()
        self._decoder = decoder
        self._reader = Reader(self.manifest)
        self._measured = measuring()
        self._watch = Watch(self.manifest, metrics)
        self._metrics = VersionMetrics(metrics, self.manifest)
        self._metrics.computes_with(engine.name, tuned=engine.tuned)
        self._batcher: Batcher[Work, Scores] = Batcher(
            engine.run_batch,
            max_batch_size=self._largest_batch(),
            max_delay_s=options.max_queue_delay_s,
            queue_limit=options.queue_limit,
            policies=options.kept_policies(),
            lanes=options.lanes,
            cost=engine.cost,
            smaller=self._smaller(),
            on_batch=self._record,
            on_drop=self._metrics.dropped,
        )
        engine.memory.on_limit = lambda _largest: self._batcher.limit_batches(self._largest_batch())

    @classmethod
    async def load(
        cls, artifact: Artifact, decoder: DecodePool, options: EngineOptions, metrics: Metrics
    ) -> "Servable":
        """Load and warm an artifact.

        Raises:
            ArtifactError: The module does not load or fails its golden samples.
        """
        engine = await LaneEngine.load(
            artifact,
            options.device,
            options.precision,
            options.max_batch_size,
            options.allotment,
            options.tuning,
            options.brownout_sides,
        )
        await decoder.try_batches(artifact.golden().inputs, artifact.manifest.input)
        return cls(artifact, engine, decoder, options, metrics)

    def take_over(
        self, engine: CompiledEngine, gains: Mapping[int, float], name: EngineName = "compiled"
    ) -> None:
        """Compute the batches from the next one on with ``engine``.

        Args:
            engine: Proven to give the same scores.
            gains: How many times faster it is, by batch size.
            name: Its name.
        """
        before = self.engine.name
        self.engine.take_over(engine, gains, name)
        self._metrics.computes_with(self.engine.name, tuned=self.engine.tuned, before=before)
        self._batcher.limit_batches(self._largest_batch())
        self._batcher.shrink_by(self._smaller())

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._options.device

    @property
    def capacity(self) -> Capacity:
        """What it can do here, as far as it is known now."""
        cost, options = self.engine.cost, self._options
        return Capacity(
            batch_seconds={size: cost.predict(size) for size in cost.sizes},
            lanes=options.allotment.lanes,
            max_batch_size=self._largest_batch(),
            device=options.device.type,
            decode_s=self._decoder.mean_s,
            decoders=self._decoder.workers,
        )

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
        explain: ExplainWish | None = None,
        coverage: float | None = None,
        quality: Quality = Quality.ONCE,
        priority: int = 0,
        deadline: float = inf,
        client: str = "",
    ) -> Classification:
        """Classify one image.

        Args:
            source: The image.
            top_k: How many labels at most, at least 1.
            min_score: Leaves out labels below it.
            explain: What to explain, if anything.
            coverage: Of the prediction set that is wanted, if one is.
            quality: How often the image is looked at.
            priority: 0 is the most urgent.
            deadline: On the event loop's clock, in seconds.
            client: Whose image it is: clients of one priority take turns.

        Raises:
            ServingError: It cannot be answered; the class says why.
        """
        wish = self._reader.explain_of(explain) if explain else None
        sets = self._reader.sets_of(coverage) if coverage is not None else None
        with self._busy:
            deadline = self.admit(
                priority, deadline, client, self._decoder.depth, self._decoder.expected_s
            )
            started = time.perf_counter()
            measured = MeasuredImage(source, self._measured)
            image = await self._decode(measured, deadline)
            decode_s = time.perf_counter() - started + measured.spent_s
            work = Work(
                image, top_k, wish, current_trace.get(), sets.least_score if sets else _NO_SET
            )
            if quality is Quality.ONCE:
                answer = await self._batcher.submit(
                    work, priority=priority, deadline=deadline, client=client
                )
            else:
                answer = await self._look_again(work, quality, priority, deadline, client)
            explanation = await self._explanation(answer.result.activation, image, explain)
        self._metrics.answered(decode_s, answer.queue_s, answer.result.shrunk_to)
        if not answer.result.shrunk_to:
            self._watch.observe(measured, answer.result)
        return self._reader.classification(answer, image, min_score, decode_s, explanation, sets)

    def admit(
        self, priority: int, deadline: float, client: str, before: int, before_s: float
    ) -> float:
        """Refuse an image that could not be answered in time; nothing is kept of it.

        Args:
            priority: As for `classify`.
            deadline: As for `classify`.
            client: As for `classify`.
            before: Images that are decoded first.
            before_s: Seconds until it would be decoded itself.

        Returns:
            Its deadline, which its priority may have shortened.

        Raises:
            ServingError: It could not be answered; the class says why.
        """
        return self._batcher.admit(
            priority=priority, deadline=deadline, client=client, before=before, before_s=before_s
        )

    async def score_aside(self, image: Tensor, threads: Executor) -> Scores:
        """All scores of an image of which no request knows: it takes no lane, waits in no queue,
        and nothing about it is counted or learned.

        Args:
            image: uint8 [3, h, w], the model's input.
            threads: Where it is computed on a CPU.

        Raises:
            Exception: Whatever the engine gave.
        """
        work = Work(image, len(self.manifest.labels))
        is_cpu = self._options.device.type == "cpu"
        with self._busy:
            outcome = await self.engine.run_aside(work, threads if is_cpu else None)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def drain(self) -> None:
        """Answer the accepted images and end the threads; the catalog sends no new ones."""
        await self._busy.ended()
        await self._batcher.drain()
        self.drained = True
        self._metrics.ended(self.engine.name, tuned=self.engine.tuned)
        # Not in the event loop: a compiled engine may be on trial on the same threads.
        await asyncio.to_thread(self.engine.close)

    def _largest_batch(self) -> int:
        """The largest batch that keeps the objective, and for which there is memory."""
        return self._options.largest_batch(self.engine.cost, self.engine.memory.largest)

    def _smaller(self) -> list[Smaller[Work, Scores]]:
        """What is done before an image is refused, in steps."""
        size = self._options.max_batch_size
        return [
            Smaller(partial(self.engine.run_shrunk, shrunk), shrunk.cost)
            for shrunk in worthwhile(self.engine.cost, self.engine.smaller, size)
        ]

    async def _decode(self, source: MeasuredImage, deadline: float) -> Tensor:
        try:
            return await self._decoder.decode(source, self.manifest.input, deadline)
        except QueueFullError:
            self._metrics.dropped(Drop.QUEUE_FULL)
            raise
        except DeadlineExpiredError:
            self._metrics.dropped(Drop.EXPIRED)
            raise

    async def _look_again(
        self, work: Work, quality: Quality, priority: int, deadline: float, client: str
    ) -> Answer[Scores]:
        """The mean of several looks, each an item of its own to the batcher."""
        views = await self._decoder.run(lambda: views_of(work.image, quality))
        answers = await asyncio.gather(
            *(
                self._batcher.submit(look, priority=priority, deadline=deadline, client=client)
                for look in works_of(work, views, len(self.manifest.labels))
            )
        )
        slowest = max(answers, key=lambda answer: answer.queue_s + answer.run_s)
        return replace(slowest, result=averaged(work, [answer.result for answer in answers]))

    async def _explanation(
        self, activation: Activation | None, image: Tensor, wish: ExplainWish | None
    ) -> Explanation | None:
        if activation is None or wish is None:
            return None
        png = b""
        if wish.overlay:
            png = await self._decoder.run(
                lambda: overlay_png(image, activation.map, _LEAST_OVERLAY_SIDE)
            )
        return self._reader.explanation(activation, png)

    def _record(self, batch: BatchRecord) -> None:
        self.tally.add(batch.size, batch.run_s)
        self._metrics.computed(batch)
