"""Decode images in a bounded pool of threads."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from torch import Tensor

from models.errors import ImageError
from models.image_header import ImageLimits
from models.manifest import InputSpec
from models.preprocess import decode_raw, preprocess, resize
from server.errors import DeadlineExpiredError, InvalidRequestError, QueueFullError
from server.pipeline.threads import compute_threads

_LEARNING_RATE = 0.05  # of the newest photo in the mean time of decoding


@dataclass(frozen=True)
class EncodedImage:
    """A JPEG, PNG or WebP file as it came; ``field`` is its path in the request."""

    data: bytes
    field: str

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

    def prepare(self, spec: InputSpec, limits: ImageLimits) -> Tensor:
        """Resize to uint8 [3, spec.height, spec.width]."""
        return resize(decode_raw(self.data, self.height, self.width, limits), spec)


ImageSource = EncodedImage | RawPixels


class DecodePool:
    """Turns image sources into the model's input, a few at a time.

    torch and Pillow release the GIL while they decode, so threads run in parallel.

    Args:
        workers: Images decoded at the same time.
        queue_limit: Images that may wait beside them.
        limits: What an image may cost.
    """

    def __init__(self, workers: int, queue_limit: int, limits: ImageLimits) -> None:
        self._limits = limits
        self._workers = workers
        self._mean_s = 0.0
        self._capacity = workers + queue_limit
        self._pending = 0
        self._pool = compute_threads(workers, "decode", torch_threads=1)

    @property
    def depth(self) -> int:
        """Images being decoded or waiting for it."""
        return self._pending

    @property
    def expected_s(self) -> float:
        """Seconds until an image that came now would be decoded, by those before it."""
        return self._mean_s * (1 + self._pending / self._workers)

    async def decode(self, source: ImageSource, spec: InputSpec, deadline: float = inf) -> Tensor:
        """The model's input, uint8 [3, spec.height, spec.width].

        An image whose caller has left, or whose deadline has passed, is not decoded.

        Args:
            source: The image.
            spec: The model's input.
            deadline: On the event loop's clock, in seconds.

        Raises:
            InvalidRequestError: The image is refused.
            QueueFullError: Too many images wait.
            DeadlineExpiredError: The deadline passed before a decoder was free.
        """
        if self._pending >= self._capacity:
            raise QueueFullError(f"{self._pending} images wait for a decoder already")
        self._pending += 1
        try:
            return await self._submit(lambda: self._prepare(source, spec, deadline))
        except ImageError as error:
            raise InvalidRequestError(source.field, str(error)) from error
        finally:
            self._pending -= 1

    async def _submit(self, prepare: Callable[[], Tensor]) -> Tensor:
        # The pool keeps a cancelled job until its turn comes; the image must not wait with it.
        waiting = [prepare]

        def begin() -> Tensor:
            return waiting.pop()()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, begin)
        finally:
            waiting.clear()

    def _prepare(self, source: ImageSource, spec: InputSpec, deadline: float) -> Tensor:
        began = time.monotonic()  # the event loop's clock
        if began >= deadline:
            raise DeadlineExpiredError("the deadline passed before a decoder was free")
        image = source.prepare(spec, self._limits)
        seconds = time.monotonic() - began
        # A lost update between threads is one photo less in a mean.
        self._mean_s += (_LEARNING_RATE if self._mean_s else 1.0) * (seconds - self._mean_s)
        return image

    def close(self) -> None:
        """Let running decodes finish and end the threads."""
        self._pool.shutdown(cancel_futures=True)
