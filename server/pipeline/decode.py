"""Decode images in a bounded pool of threads."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from typing import ClassVar, TypeVar

from torch import Tensor

from models.errors import ImageError
from models.image_header import ImageLimits
from models.image_statistics import ImageStatistics, image_statistics
from models.manifest import InputSpec
from models.preprocess import decode_raw, preprocess, resize
from server.errors import (
    DeadlineExpiredError,
    InvalidRequestError,
    ModelChangedError,
    QueueFullError,
)
from server.pipeline.batcher import Batcher
from server.pipeline.nvjpeg import JpegBatches, JpegFile
from server.pipeline.thinning import Thinning
from server.pipeline.workers import Workers

Result = TypeVar("Result")

_JPEGS_IN_A_BATCH = 64
RULE_BYTES = 8
# Measuring takes 0.2 ms under load (each call of numpy lets go of the interpreter's lock), and says
# no more of all of many images than of some: drift looks back on 1,000, which are 100 seconds then.
_MEASURED_PER_S, _MEASURED_AT_ONCE = 10.0, 4000.0
_LEARNING_RATE = 0.05  # of the newest photo in the mean time of decoding


@dataclass(frozen=True)
class EncodedImage:
    """A JPEG, PNG or WebP file as it came; ``field`` is its path in the request."""

    data: bytes
    field: str
    spent_s: ClassVar[float] = 0.0

    @property
    def size(self) -> int:
        """Bytes that came."""
        return len(self.data)

    def prepare(self, spec: InputSpec, limits: ImageLimits) -> Tensor:
        """Decode and resize to uint8 [3, spec.height, spec.width]."""
        return preprocess(self.data, spec, limits)


@dataclass(frozen=True)
class RawPixels:
    """RGB bytes, row-major [height, width, 3]; ``field`` is its path in the request."""

    data: bytes
    height: int
    width: int
    field: str
    spent_s: ClassVar[float] = 0.0

    @property
    def size(self) -> int:
        """Bytes that came."""
        return len(self.data)

    def prepare(self, spec: InputSpec, limits: ImageLimits) -> Tensor:
        """Resize to uint8 [3, spec.height, spec.width]."""
        return resize(decode_raw(self.data, self.height, self.width, limits), spec)


def rule_of(spec: InputSpec) -> bytes:
    """Eight bytes, the same for inputs whose pixels are made in the same way."""
    return hashlib.blake2b(repr(spec.pixels).encode(), digest_size=RULE_BYTES).digest()


@dataclass(eq=False)
class PreparedPixels:
    """What another process has decoded already, or why it could not.

    Attributes:
        pixels: uint8 [3, h, w], the model's input; None: there is none.
        refused: Why there is none, if the image is to blame.
        size: Bytes that came.
        spent_s: Seconds that it took.
        statistics: Of the pixels; None: they were not measured.
        content: Of the image as it came, see ``content``; empty: not known.
        rule: How the pixels were made, see :func:`rule_of`; empty: as the model's own.
        wanted: Set when the model has another input than the pixels.
        field: The image's path in the request.
    """

    pixels: Tensor | None
    refused: InvalidRequestError | None
    size: int
    spent_s: float
    statistics: ImageStatistics | None = None
    content: bytes = b""
    rule: bytes = b""
    wanted: InputSpec | None = None
    field: str = "image"

    def prepare(self, spec: InputSpec, _limits: ImageLimits) -> Tensor:
        """The pixels, uint8 [3, spec.height, spec.width].

        Raises:
            InvalidRequestError: The image is refused.
            ModelChangedError: The model has another input.
        """
        if self.refused is not None:
            raise self.refused
        if self.pixels is None or not self._fit(self.pixels, spec):
            self.wanted = spec
            raise ModelChangedError("the model has changed while the image was on its way")
        return self.pixels

    def _fit(self, pixels: Tensor, spec: InputSpec) -> bool:
        if pixels.shape[1:] != (spec.height, spec.width):
            return False
        return not self.rule or self.rule == rule_of(spec)


ImageSource = EncodedImage | RawPixels | PreparedPixels


def measuring() -> Thinning:
    """Which images of one version are measured: a busy one beside it leaves it its share."""
    return Thinning(_MEASURED_PER_S, _MEASURED_AT_ONCE)


class MeasuredImage:
    """An image source that keeps its input's statistics, if it is among those that are measured.

    Args:
        source: The image.
        measured: Says which are, of those that are decoded here.

    Attributes:
        field: The source's.
        size: The source's.
        spent_s: The source's.
        is_decoded: Whether there is nothing left to do for a thread.
        statistics: Once it is prepared.
    """

    def __init__(self, source: ImageSource, measured: Thinning) -> None:
        self._source = source
        self.field = source.field
        self.size = source.size
        self.spent_s = source.spent_s
        self.is_decoded = isinstance(source, PreparedPixels)
        self._measured = measured
        self._is_measured = False
        self.statistics: ImageStatistics | None = None

    @property
    def encoded(self) -> bytes | None:
        """The file, where there is one."""
        return self._source.data if isinstance(self._source, EncodedImage) else None

    def admit(self) -> None:
        """It is about to be decoded: only now does it count among those to be measured."""
        self._is_measured = self._measured.takes_one()

    def measure(self, image: Tensor) -> None:
        """Keep the statistics of what it was decoded to, uint8 [3, h, w]."""
        if self._is_measured:
            self.statistics = image_statistics(image)

    def prepare(self, spec: InputSpec, limits: ImageLimits) -> Tensor:
        """Decode and resize to uint8 [3, spec.height, spec.width], and measure that."""
        image = self._source.prepare(spec, limits)
        if isinstance(self._source, PreparedPixels):
            self.statistics = self._source.statistics
        else:
            self.measure(image)
        return image


class DecodePool:
    """Turns image sources into the model's input, a few at a time.

    torch and Pillow release the GIL while they decode, so threads run in parallel.
    Must be created and used in one event loop.

    Args:
        workers: Images decoded at the same time.
        queue_limit: Images that may wait beside them.
        limits: What an image may cost.
        jpegs: Decodes JPEG files in batches, once it has shown for an input that it agrees; None:
            the workers do.
    """

    def __init__(
        self,
        workers: int,
        queue_limit: int,
        limits: ImageLimits,
        jpegs: JpegBatches | None = None,
    ) -> None:
        self._jpegs = jpegs
        self._agreed: set[InputSpec] = set()
        self._jpeg_thread = ThreadPoolExecutor(1, "nvjpeg")  # started when it is first used
        self._batches: Batcher[JpegFile, Tensor] = Batcher(
            self._decode_batch, max_batch_size=_JPEGS_IN_A_BATCH, queue_limit=queue_limit
        )
        self._limits = limits
        self._workers = workers
        self._mean_s = 0.0
        self._capacity = workers + queue_limit
        self._pending = 0
        self._threads = Workers(workers, "decode")

    @property
    def depth(self) -> int:
        """Images being decoded or waiting for it."""
        return self._pending

    @property
    def workers(self) -> int:
        """Images decoded at the same time."""
        return self._workers

    @property
    def mean_s(self) -> float:
        """Seconds that an image takes a decoder, on average of the last ones; 0: none came yet."""
        return self._mean_s

    @property
    def expected_s(self) -> float:
        """Seconds until an image that came now would be decoded, by those before it."""
        return self._mean_s * (1 + self._pending / self._workers)

    async def decode(
        self, source: ImageSource | MeasuredImage, spec: InputSpec, deadline: float = inf
    ) -> Tensor:
        """The model's input, uint8 [3, spec.height, spec.width].

        An image whose caller has left, or whose deadline has passed, is not decoded.

        Args:
            source: The image.
            spec: The model's input.
            deadline: On the event loop's clock, in seconds.

        Raises:
            InvalidRequestError: The image is refused.
            ModelChangedError: It was decoded elsewhere, for another input.
            QueueFullError: Too many images wait.
            DeadlineExpiredError: The deadline passed before a decoder was free.
        """
        if isinstance(source, MeasuredImage) and source.is_decoded:
            return source.prepare(spec, self._limits)
        if self._pending >= self._capacity:
            raise QueueFullError(f"{self._pending} images wait for a decoder already")
        self._pending += 1
        if isinstance(source, MeasuredImage):
            source.admit()
        try:
            if isinstance(source, MeasuredImage) and self._goes_in_batches(source, spec):
                return await self._in_a_batch(source, spec, deadline)
            return await self.run(lambda: self._prepare(source, spec, deadline))
        except ImageError as error:
            raise InvalidRequestError(source.field, str(error)) from error
        finally:
            self._pending -= 1

    def prepare(self, source: ImageSource, spec: InputSpec) -> Tensor:
        """The model's input, uint8 [3, spec.height, spec.width], on the calling thread.

        Raises:
            ImageError: The image is refused.
        """
        return source.prepare(spec, self._limits)

    async def run(self, job: Callable[[], Result]) -> Result:
        """Run any short job of pixels, such as colouring a photo, beside the decoding."""
        return await self._threads.run(job)

    async def try_batches(self, images: Tensor, spec: InputSpec) -> None:
        """Decode files of an input in batches from now on, if that gives the same pixels.

        Args:
            images: uint8 [n, 3, h, w], natural ones to try it on.
            spec: The input.
        """
        if self._jpegs is not None and spec not in self._agreed:
            loop = asyncio.get_running_loop()
            agrees = loop.run_in_executor(self._jpeg_thread, self._jpegs.agrees, images, spec)
            if await agrees:
                self._agreed.add(spec)

    def _goes_in_batches(self, source: MeasuredImage, spec: InputSpec) -> bool:
        if self._jpegs is None or spec not in self._agreed or source.encoded is None:
            return False
        return self._jpegs.takes(source.encoded)

    async def _in_a_batch(self, source: MeasuredImage, spec: InputSpec, deadline: float) -> Tensor:
        answer = await self._batches.submit(
            JpegFile(source.encoded or b"", spec), deadline=deadline
        )
        source.measure(answer.result)
        self._learn(answer.run_s / answer.batch_size)
        return answer.result

    async def _decode_batch(self, files: Sequence[JpegFile]) -> Sequence[Tensor | Exception]:
        if self._jpegs is None:
            raise RuntimeError("nothing decodes batches")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._jpeg_thread, self._jpegs.decode, files)

    def _learn(self, seconds: float) -> None:
        # A lost update between threads is one photo less in a mean.
        self._mean_s += (_LEARNING_RATE if self._mean_s else 1.0) * (seconds - self._mean_s)

    def _prepare(
        self, source: ImageSource | MeasuredImage, spec: InputSpec, deadline: float
    ) -> Tensor:
        began = time.monotonic()  # the event loop's clock
        if began >= deadline:
            raise DeadlineExpiredError("the deadline passed before a decoder was free")
        image = source.prepare(spec, self._limits)
        self._learn(time.monotonic() - began)
        return image

    def close(self) -> None:
        """Let running decodes finish and end the threads."""
        self._jpeg_thread.shutdown()
        self._threads.close()
