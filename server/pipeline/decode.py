"""Decode images in a bounded pool of threads."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from models.errors import ImageError
from models.image_header import ImageLimits
from models.manifest import InputSpec
from models.preprocess import decode_raw, preprocess, resize
from server.errors import InvalidRequestError, QueueFullError


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
        self._capacity = workers + queue_limit
        self._pending = 0
        self._pool = ThreadPoolExecutor(
            workers, thread_name_prefix="decode", initializer=torch.set_num_threads, initargs=(1,)
        )

    @property
    def depth(self) -> int:
        """Images being decoded or waiting for it."""
        return self._pending

    async def decode(self, source: ImageSource, spec: InputSpec) -> Tensor:
        """The model's input, uint8 [3, spec.height, spec.width].

        Raises:
            InvalidRequestError: The image is refused.
            QueueFullError: Too many images wait.
        """
        if self._pending >= self._capacity:
            raise QueueFullError(f"{self._pending} images wait for a decoder already")
        self._pending += 1
        try:
            return await self._submit(lambda: source.prepare(spec, self._limits))
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

    def close(self) -> None:
        """Let running decodes finish and end the threads."""
        self._pool.shutdown(cancel_futures=True)
