"""One model version that takes requests: decode, batch, compute, name the labels."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import inf, isclose

import torch
from torch import Tensor

from models.artifact import Artifact
from models.class_activation import CamMethod
from models.manifest import Label, PredictionSets
from models.overlay import overlay_png
from server.catalog.tally import BatchTally
from server.catalog.watch import Watch
from server.errors import DeadlineExpiredError, InvalidRequestError, QueueFullError
from server.pipeline.admission import QueuePolicy
from server.pipeline.batcher import Answer, Batcher, BatchRecord, Drop, Smaller
from server.pipeline.brownout import worthwhile
from server.pipeline.compiled import CompiledEngine
from server.pipeline.cores import Allotment
from server.pipeline.decode import DecodePool, ImageSource, MeasuredImage
from server.pipeline.engine import Activation, Explain, Scores, Work
from server.pipeline.lane_engine import LaneEngine
from server.pipeline.lanes import Lanes
from server.pipeline.queue import CloseReason
from server.pipeline.torchscript import Precision
from server.pipeline.tuning import TuningStore
from server.pipeline.views import Quality, averaged, views_of, works_of
from server.telemetry.current_trace import current_trace, exemplar
from server.telemetry.metrics import Metrics

_LEAST_OVERLAY_SIDE = 224  # pixels: smaller ones say little to people
_NO_SET = 2.0  # no label has such a score
_SAME_COVERAGE = 1e-4  # what a float32 makes of 0.9 is 0.9


@dataclass(frozen=True)
class Prediction:
    """A label with its position in the output and its calibrated probability."""

    index: int
    label: Label
    score: float


@dataclass(frozen=True)
class ExplainWish:
    """What to explain and how.

    Attributes:
        label_id: Of the label; empty: the best.
        method: How.
        overlay: Whether to colour the image, too.
    """

    label_id: str = ""
    method: CamMethod = CamMethod.GRAD_CAM
    overlay: bool = False


@dataclass(frozen=True)
class Explanation:
    """Where the model looked.

    Attributes:
        prediction: The label that is explained.
        map: float32 [h', w'], 0 to 1.
        overlay_png: The image as the model saw it, coloured by the map; empty if not wanted.
    """

    prediction: Prediction
    map: Tensor
    overlay_png: bytes


@dataclass(frozen=True)
class PredictionSet:
    """Labels of which the true one is one, with a stated probability.

    Attributes:
        coverage: That probability.
        predictions: The labels, best first; empty where none is sure enough.
    """

    coverage: float
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class NoveltyVerdict:
    """Whether an image is like the training images.

    Attributes:
        score: Larger is less alike.
        threshold: From the artifact.
    """

    score: float
    threshold: float

    @property
    def is_novel(self) -> bool:
        """Whether the image is like none of them."""
        return self.score > self.threshold


@dataclass(frozen=True)
class Classification:
    """The answer for one image.

    Attributes:
        predictions: Best first.
        best: The best label, whether or not its score is too small to be among them.
        image: uint8 [3, h, w], as the model saw it. It may lie in memory that is given away once
            the request is answered.
        decode_s: Seconds waiting for a decoder and decoding.
        queue_s: Seconds waiting for the batch and the engine.
        engine_s: Seconds of the engine's run over the batch.
        batch_size: Images in the batch.
        closed_by: Why the batch closed.
        predicted_s: Seconds that the engine's run was predicted to take.
        explanation: Where the model looked, if that was asked.
        abstain: Whether the model had better not answer; None where the artifact does not say.
        prediction_set: If it was asked for.
        novelty: Where the artifact and the engine can tell.
        shrunk_to: The side in pixels to which the image was shrunk, so that it had not to be
            refused; 0: it was not. What the artifact promises holds for its own size alone, so
            neither abstain nor a prediction set nor novelty is told then.
    """

    predictions: tuple[Prediction, ...]
    best: Prediction
    image: Tensor
    decode_s: float
    queue_s: float
    engine_s: float
    batch_size: int
    closed_by: CloseReason
    predicted_s: float
    explanation: Explanation | None = None
    abstain: bool | None = None
    prediction_set: PredictionSet | None = None
    novelty: NoveltyVerdict | None = None
    shrunk_to: int = 0


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
        tuning: Batch times that earlier starts measured; None: each start measures.
        brownout_sides: Of inputs, pixels, that images may be shrunk to before being refused.
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
    tuning: TuningStore | None = None
    brownout_sides: tuple[int, ...] = ()


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
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._decoder = decoder
        labels = self._labels = (self.manifest.name, str(self.manifest.version))
        self._browned_out = metrics.browned_out
        self._decode_seconds = metrics.decode_seconds.labels(*labels)
        self._queue_seconds = metrics.queue_seconds.labels(*labels)
        self._engine_seconds = metrics.engine_seconds.labels(*labels)
        self._image_engine_seconds = metrics.image_engine_seconds.labels(*labels)
        self._batch_size = metrics.batch_size.labels(*labels)
        self._watch = Watch(self.manifest, metrics)
        self._cost_ratio = metrics.batch_cost_ratio.labels(*labels)
        self._batches = metrics.batches
        self._dropped = metrics.dropped
        metrics.begin_version(*labels, Drop)
        self._engine_info = metrics.engine_info
        self._engine_info.labels(*labels, engine.name).set(1)
        self._tuning_info = metrics.tuning_info
        self._tuning_info.labels(*labels, engine.tuned).set(1)
        self._batcher: Batcher[Work, Scores] = Batcher(
            engine.run_batch,
            max_batch_size=self._largest_batch(),
            max_delay_s=options.max_queue_delay_s,
            queue_limit=options.queue_limit,
            policies=_within(options.slo_p99_s, options.policies),
            lanes=options.lanes,
            cost=engine.cost,
            smaller=self._smaller(),
            on_batch=self._record,
            on_drop=self._drop,
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
        return cls(artifact, engine, decoder, options, metrics)

    def take_over(self, engine: CompiledEngine, gains: Mapping[int, float]) -> None:
        """Compute the batches from the next one on with ``engine``.

        Args:
            engine: Proven to give the same scores.
            gains: How many times faster it is, by batch size.
        """
        model = (self.manifest.name, str(self.manifest.version))
        self._engine_info.remove(*model, self.engine.name)
        self.engine.take_over(engine, gains)
        self._engine_info.labels(*model, self.engine.name).set(1)
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
        wish = self._engine_wish(explain) if explain else None
        sets = self._prediction_sets(coverage) if coverage is not None else None
        with self._busy():
            deadline = self.admit(
                priority, deadline, client, self._decoder.depth, self._decoder.expected_s
            )
            started = time.perf_counter()
            measured = MeasuredImage(source)
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
        self._decode_seconds.observe(decode_s, exemplar())
        self._queue_seconds.observe(answer.queue_s, exemplar())
        classification = replace(
            self._classification(answer, image, min_score, decode_s), explanation=explanation
        )
        if answer.result.shrunk_to:
            side = str(answer.result.shrunk_to)
            self._browned_out.labels(*self._labels, side).inc()
            return classification
        self._watch.observe(measured, answer.result)
        return replace(
            classification,
            abstain=self._abstains(answer.result),
            prediction_set=self._prediction_set(sets, answer.result) if sets else None,
            novelty=self._novelty(answer.result),
        )

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
        with self._busy():
            outcome = await self.engine.run_aside(work, threads if is_cpu else None)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @contextmanager
    def _busy(self) -> Iterator[None]:
        """Not drained before the block has ended."""
        self._active += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._active -= 1
            if self._active == 0:
                self._idle.set()

    async def drain(self) -> None:
        """Answer the accepted images and end the threads; the catalog sends no new ones."""
        await self._idle.wait()
        await self._batcher.drain()
        self.drained = True
        model = (self.manifest.name, str(self.manifest.version))
        self._engine_info.remove(*model, self.engine.name)
        self._tuning_info.remove(*model, self.engine.tuned)
        # Not in the event loop: a compiled engine may be on trial on the same threads.
        await asyncio.to_thread(self.engine.close)

    def _largest_batch(self) -> int:
        """The largest batch that keeps the objective, and for which there is memory.

        An image may come just after a batch has started, and then runs in the next one.
        """
        return self.engine.cost.largest_within(
            self._options.slo_p99_s / 2,
            min(self._options.max_batch_size, self.engine.memory.largest),
        )

    def _smaller(self) -> list[Smaller[Work, Scores]]:
        """What is done before an image is refused, in steps."""
        size = self._options.max_batch_size
        return [
            Smaller(partial(self.engine.run_shrunk, shrunk), shrunk.cost)
            for shrunk in worthwhile(self.engine.cost, self.engine.smaller, size)
        ]

    def _prediction_sets(self, coverage: float) -> PredictionSets:
        offered = self.manifest.calibration.prediction_sets
        for sets in offered:
            if isclose(sets.coverage, coverage, abs_tol=_SAME_COVERAGE):
                return sets
        choice = ", ".join(f"{sets.coverage:g}" for sets in offered)
        raise InvalidRequestError(
            "coverage",
            f"must be one of {choice} for {self.manifest.name}"
            if offered
            else f"is not offered by {self.manifest.name} version {self.manifest.version}",
        )

    def _prediction_set(self, sets: PredictionSets, scores: Scores) -> PredictionSet:
        labels = self.manifest.labels
        members = (Prediction(index, labels[index], score) for index, score in scores.members)
        return PredictionSet(sets.coverage, tuple(members))

    def _abstains(self, scores: Scores) -> bool | None:
        rule = self.manifest.calibration.abstain
        return scores.values[0] < rule.threshold if rule else None

    def _novelty(self, scores: Scores) -> NoveltyVerdict | None:
        rule = self.manifest.novelty
        if rule is None or scores.novelty is None:
            return None
        return NoveltyVerdict(scores.novelty, rule.threshold)

    async def _decode(self, source: MeasuredImage, deadline: float) -> Tensor:
        try:
            return await self._decoder.decode(source, self.manifest.input, deadline)
        except QueueFullError:
            self._drop(Drop.QUEUE_FULL)
            raise
        except DeadlineExpiredError:
            self._drop(Drop.EXPIRED)
            raise

    def _engine_wish(self, wish: ExplainWish) -> Explain:
        if not wish.label_id:
            return Explain(None, wish.method)
        for index, label in enumerate(self.manifest.labels):
            if label.id == wish.label_id:
                return Explain(index, wish.method)
        raise InvalidRequestError(
            "explain.label_id", f"is no label of {self.manifest.name}: {wish.label_id[:64]!a}"
        )

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
        label = self.manifest.labels[activation.label]
        return Explanation(
            Prediction(activation.label, label, activation.score), activation.map, png
        )

    def _classification(
        self, answer: Answer[Scores], image: Tensor, min_score: float, decode_s: float
    ) -> Classification:
        pairs = zip(answer.result.indices, answer.result.values, strict=True)
        ranked = [Prediction(index, self.manifest.labels[index], score) for index, score in pairs]
        return Classification(
            predictions=tuple(each for each in ranked if each.score >= min_score),
            best=ranked[0],
            image=image,
            decode_s=decode_s,
            queue_s=answer.queue_s,
            engine_s=answer.run_s,
            batch_size=answer.batch_size,
            closed_by=answer.reason,
            predicted_s=answer.predicted_s,
            shrunk_to=answer.result.shrunk_to,
        )

    def _record(self, batch: BatchRecord) -> None:
        self.tally.add(batch.size, batch.run_s)
        self._batch_size.observe(batch.size)
        self._engine_seconds.observe(batch.run_s)
        self._image_engine_seconds.inc(batch.run_s * batch.size)
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
