"""TorchScript on an NVIDIA GPU: graphs, pinned staging, copies beside the computing.

A batch is written into a pinned buffer and copied to the device on the buffer's own stream, while
the batch before it still computes on the one stream that computes. There it is moved into the
static input of a CUDA graph, captured at load for each bucket of batch sizes, and the graph is
replayed: one launch instead of a few hundred. What comes out is moved into the buffer's own
tensors before the next replay may overwrite it, which is what lets all graphs share one pool of
memory in whatever order they are replayed. So two lanes suffice: one batch computes, the next
is copied. One thread at a time submits work, and it does not wait for it.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html, "CUDA Graphs" and "Use pinned memory
buffers"; torch.cuda.graph for the capture mode.
"""

import contextlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models.artifact import Artifact
from models.errors import GoldenMismatchError
from models.golden import check_golden
from models.manifest import CHANNELS
from server.errors import EngineMemoryError
from server.pipeline.engine import Scores, Work
from server.pipeline.staging import Ring, bucket_for, buckets
from server.pipeline.torchscript import TorchScriptEngine, score_tolerance, time_batches

log = logging.getLogger(__name__)

_WARM_UPS = 3  # before a capture: TorchScript optimises on the second, cuDNN chooses on the first


@dataclass(frozen=True)
class _Captured:
    """One bucket, ready to run.

    Attributes:
        graph: None where it could not be captured: then it is run as it is.
        images: uint8 [size, 3, h, w], channels last: the graph's input.
        features: [size, c, h', w'], the graph's output.
        logits: [size, classes], likewise.
    """

    graph: torch.cuda.CUDAGraph | None
    images: Tensor
    features: Tensor
    logits: Tensor


@dataclass(frozen=True)
class _Slot:
    """One batch's place.

    Attributes:
        stream: For its copies and for what its answers still cost.
        copied: When its images are on the device.
        computed: When its features and logits are there.
        host: uint8 [largest, 3, h, w], pinned.
        images: The same on the device.
        features: [largest, c, h', w'].
        logits: [largest, classes].
    """

    stream: torch.cuda.Stream
    copied: torch.cuda.Event
    computed: torch.cuda.Event
    host: Tensor
    images: Tensor
    features: Tensor
    logits: Tensor


class CudaEngine:
    """A TorchScript engine whose forward passes are captured graphs.

    What features and logits say of an image, and the maps, come from the TorchScript engine.

    Args:
        scripted: On a CUDA device.
        max_batch_size: The largest batch. Where memory does not suffice to capture it, smaller
            ones are all there is: see ``largest``.
        slots: Batches that are in work at the same time, at least 1.

    Attributes:
        largest: The largest batch that it takes.

    Raises:
        EngineMemoryError: There is no memory for a single image.
    """

    def __init__(self, scripted: TorchScriptEngine, max_batch_size: int, slots: int) -> None:
        self._scripted = scripted
        self._device = scripted.device
        self._submit = threading.Lock()  # captures and replays share tensors and a pool
        with torch.cuda.device(self._device), torch.inference_mode():
            self._compute = torch.cuda.Stream()
            self._pool = torch.cuda.graph_pool_handle()
            self._buckets = self._capture_all(max_batch_size)
            self._sizes = sorted(self._buckets)
            self.largest = self._sizes[-1]
            self._ring = Ring([self._slot() for _ in range(slots)])

    def run(self, batch: Sequence[Work]) -> list[Scores | Exception]:
        """Scores for each image; an item whose scores are not finite fails alone.

        Raises:
            torch.OutOfMemoryError: There is no memory for as many.
        """
        if len(batch) > self.largest:
            raise torch.OutOfMemoryError(
                f"{len(batch)} images were not captured for lack of memory"
            )
        with torch.cuda.device(self._device), self._ring.taken() as slot:
            try:
                features, logits = self._forward(slot, [work.image for work in batch])
                with torch.cuda.stream(slot.stream):
                    slot.stream.wait_event(slot.computed)
                    return self._scripted.answers(features, logits, batch)
            except BaseException:
                with contextlib.suppress(RuntimeError):  # of the device: the first error counts
                    slot.stream.synchronize()  # or the next batch would overwrite what is read
                raise

    def scores(self, images: Tensor) -> Tensor:
        """Calibrated scores, float32 [b, classes] on the CPU, the same way.

        Args:
            images: uint8 [b, 3, h, w].
        """
        with torch.cuda.device(self._device), self._ring.taken() as slot:
            _, logits = self._forward(slot, list(images))
            with torch.cuda.stream(slot.stream):
                slot.stream.wait_event(slot.computed)
                return self._scripted.scores(logits)

    def warm_up(self, sizes: Sequence[int], runs: int) -> dict[int, float]:
        """Run batches of each size, as :meth:`TorchScriptEngine.warm_up`.

        Sizes that were not captured are told as several batches of the largest.
        """
        spec = self._scripted.input
        shape = spec.height, spec.width
        fitting = [size for size in sizes if size <= self.largest]
        seconds = time_batches(self.scores, shape, fitting, runs)
        beyond = [size for size in sizes if size > self.largest]
        if beyond:
            largest_s = time_batches(self.scores, shape, [self.largest], runs)[self.largest]
            seconds |= {size: largest_s * size / self.largest for size in beyond}
        return seconds

    def _forward(self, slot: _Slot, images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Submit a batch; its features and logits are there after ``slot.computed``."""
        count = len(images)
        with torch.inference_mode():
            with torch.cuda.stream(slot.stream):
                _stage(slot, images)
                slot.copied.record()
            captured = self._buckets[bucket_for(self._sizes, count)]
            with self._submit, torch.cuda.stream(self._compute):
                self._compute.wait_event(slot.copied)
                captured.images[:count].copy_(slot.images[:count])
                features, logits = captured.features, captured.logits
                if captured.graph is not None:
                    captured.graph.replay()
                else:
                    features, logits = self._scripted.features_and_logits(captured.images)
                slot.features[:count].copy_(features[:count])
                slot.logits[:count].copy_(logits[:count])
                slot.computed.record()
            return slot.features[:count], slot.logits[:count]

    def _capture_all(self, max_batch_size: int) -> dict[int, _Captured]:
        """Each bucket, the largest first: the smaller ones find room in its memory."""
        captured: dict[int, _Captured] = {}
        for size in reversed(buckets(max_batch_size)):
            try:
                captured[size] = self._capture(size)
            except torch.OutOfMemoryError:
                log.warning("there is no memory for batches of %d", size)
                torch.cuda.empty_cache()
        if not captured:
            raise EngineMemoryError("the device has no memory for a single image")
        return captured

    def _capture(self, size: int) -> _Captured:
        spec = self._scripted.input
        images = torch.zeros(
            (size, CHANNELS, spec.height, spec.width), dtype=torch.uint8, device=self._device
        ).contiguous(memory_format=torch.channels_last)
        self._compute.wait_stream(torch.cuda.current_stream())  # which fills them
        with torch.cuda.stream(self._compute):
            for _ in range(_WARM_UPS):
                features, logits = self._scripted.features_and_logits(images)
        self._compute.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            # Of this thread alone: other models go on serving on theirs meanwhile.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._compute, capture_error_mode="thread_local"
            ):
                features, logits = self._scripted.features_and_logits(images)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # an operation that cannot be captured
            log.warning("batches of %d run without a graph: %s", size, str(error)[-300:])
            return _Captured(None, images, features, logits)
        return _Captured(graph, images, features, logits)

    def _slot(self) -> _Slot:
        largest = self._buckets[self.largest]
        return _Slot(
            stream=torch.cuda.Stream(),
            copied=torch.cuda.Event(),
            computed=torch.cuda.Event(),
            host=torch.empty(largest.images.shape, dtype=torch.uint8, pin_memory=True),
            images=torch.empty(largest.images.shape, dtype=torch.uint8, device=self._device),
            features=torch.empty_like(largest.features),
            logits=torch.empty_like(largest.logits),
        )


def first_engine(
    scripted: TorchScriptEngine, artifact: Artifact, max_batch_size: int, slots: int
) -> TorchScriptEngine | CudaEngine:
    """What serves first: on a GPU the captured graphs, where they give the golden samples' scores.

    Raises:
        EngineMemoryError: There is no memory for a single image.
    """
    if scripted.device.type != "cuda":
        return scripted
    try:
        engine = CudaEngine(scripted, max_batch_size, slots)
        prove(engine, artifact, score_tolerance(artifact.manifest, scripted.dtype))
    except (GoldenMismatchError, RuntimeError) as error:
        log.warning("TorchScript runs without CUDA graphs: %s", str(error)[-300:])
        return scripted
    return engine


class _Scoring(Protocol):
    largest: int

    def scores(self, images: Tensor) -> Tensor:
        """From uint8 [b, 3, h, w] to scores."""
        ...


def prove(engine: _Scoring, artifact: Artifact, tolerance: float) -> None:
    """Run the golden samples one by one, and as many together as it takes.

    Raises:
        GoldenMismatchError: The scores are off.
    """
    samples, temperature = artifact.golden(), artifact.manifest.calibration.temperature
    for size in {1, min(len(samples.inputs), engine.largest)}:

        def scores(images: Tensor, size: int = size) -> Tensor:
            return torch.cat([engine.scores(part) for part in images.split(size)])

        check_golden(samples, scores, temperature, tolerance)


def _stage(slot: _Slot, images: Sequence[Tensor]) -> None:
    """To the device; what a decoder has left there already only moves."""
    count = len(images)
    if not any(image.is_cuda for image in images):
        torch.stack(list(images), out=slot.host[:count])
        slot.images[:count].copy_(slot.host[:count], non_blocking=True)
        return
    for index, image in enumerate(images):
        if not image.is_cuda:
            slot.host[index].copy_(image)
            image = slot.host[index]  # noqa: PLW2901 - pinned
        slot.images[index].copy_(image, non_blocking=True)
