"""Shadow traffic: a version on trial answers copies of requests, and nobody waits for it.

::

    answer ──> offer (a copy by weight; dropped where too many wait) ──> a free lane that no model
    wants ──> scores, on a thread of their own ──> compared with what was answered

A copy takes no lane and no place in any queue, and no prediction learns from it: what requests are
refused for never counts it. Under load the copies that wait are not computed, then new ones are
dropped.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from torch import Tensor

from server.catalog.catalog import Catalog
from server.catalog.classification import Classification, Prediction
from server.catalog.entry import State
from server.catalog.servable import Servable
from server.pipeline.decode import DecodePool, ImageSource, PreparedPixels
from server.pipeline.engine import Scores
from server.pipeline.lanes import Lanes
from server.pipeline.threads import compute_threads
from server.pipeline.views import Quality
from server.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_MOST_COPIES = 64
_MOST_BYTES = 64 * 2**20


class Outcome(StrEnum):
    """What came of a copy."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    FAILED = "failed"


class CopyDrop(StrEnum):
    """Why a copy was never answered."""

    QUEUE_FULL = "queue_full"  # too many wait: requests left no time for them
    OTHER_INPUT = "other_input"  # decoded by a front for a model whose input is another
    GONE = "gone"  # the version left, or its trial ended


@dataclass(frozen=True)
class _Copy:
    """A request's image on its way to a version.

    Attributes:
        to: The version.
        image: uint8 [3, h, w], its input; or the image as it came, to be decoded for it.
        answered: The best label, and its score, that the request was given.
        held_bytes: What waiting costs.
    """

    to: Servable
    image: Tensor | ImageSource
    answered: Prediction
    held_bytes: int


class Shadows:
    """Has versions on trial answer copies, one at a time.

    Must be created and used in one event loop.

    Args:
        catalog: Says which requests are copied, and to which version.
        decoder: Knows what an image may cost.
        lanes: The device's: while all of them compute, copies wait.
        metrics: The server's.
        most_copies: That may wait.
        most_bytes: Of their images.
    """

    def __init__(
        self,
        catalog: Catalog,
        decoder: DecodePool,
        lanes: Lanes,
        metrics: Metrics,
        *,
        most_copies: int = _MOST_COPIES,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        self._catalog = catalog
        self._decoder = decoder
        self._metrics = metrics
        self._most_bytes = most_bytes
        self._held_bytes = 0
        self._copies: asyncio.Queue[_Copy] = asyncio.Queue(most_copies)
        # No less urgent than others that compute: it would wait for a processor with the GIL held.
        self._thread = compute_threads(1, "shadow", torch_threads=1)
        self._room = asyncio.Event()
        self._seat = lanes.join(self._room.set)
        catalog.on_change(self._room.set)  # or copies would hold a version that has left
        self._seat.used_s = inf  # so that every other seat comes first
        self._known: tuple[str, ...] = ()  # whose counters were begun last
        self._complained: set[tuple[str, ...]] = set()  # of whose failures the log has told

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Copies are answered inside the block."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            self._seat.leave()
            await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def settled(self) -> None:
        """Return when every copy that was taken is compared or dropped."""
        await self._copies.join()

    def offer(
        self, servable: Servable, source: ImageSource, quality: Quality, answer: Classification
    ) -> None:
        """Copy a request that was answered, if its share says so. Never waits.

        Args:
            servable: That answered.
            source: The image.
            quality: How often it was looked at: scores of several looks are not
                comparable, nor are those of an image that was shrunk.
            answer: What was answered; not copied where the image was shrunk for lack of time.
        """
        to = self._catalog.shadow_of(servable.manifest.name, servable.manifest.version)
        if to is None or quality is not Quality.ONCE or answer.shrunk_to:
            return
        if self._known != (*_labels(to), to.digest):
            self._begin(to)
        image = _image_for(to, servable, source, answer.image)
        if image is None:
            self._drop(to, CopyDrop.OTHER_INPUT)
            return
        held_bytes = image.numel() if isinstance(image, Tensor) else image.size
        if self._copies.full() or self._held_bytes + held_bytes > self._most_bytes:
            self._drop(to, CopyDrop.QUEUE_FULL)
            return
        self._held_bytes += held_bytes
        self._copies.put_nowait(_Copy(to, image, answer.best, held_bytes))

    async def _run(self) -> None:
        while True:
            copy = await self._copies.get()
            while self._is_on_trial(copy.to) and not self._seat.finds_free():
                await self._room.wait()
                self._room.clear()
            self._held_bytes -= copy.held_bytes
            if self._is_on_trial(copy.to):
                await self._compare(copy)
            else:
                self._drop(copy.to, CopyDrop.GONE)
            self._copies.task_done()
            del copy  # or its image would live on while nothing comes

    def _is_on_trial(self, servable: Servable) -> bool:
        manifest = servable.manifest
        shadow = self._catalog.route(manifest.name).shadow
        entry = self._catalog.versions(manifest.name).get(manifest.version)
        if shadow is None or shadow.version != manifest.version or entry is None:
            return False
        return entry.servable is servable and entry.state is State.READY

    async def _compare(self, copy: _Copy) -> None:
        try:
            scores = await self._score(copy)
        except Exception:  # nothing about a copy is anybody's trouble
            if (who := (*_labels(copy.to), copy.to.digest)) not in self._complained:
                self._complained.add(who)
                log.warning("copies are not answered", exc_info=True)
            self._count(copy.to, Outcome.FAILED)
            return
        labels = copy.to.manifest.labels
        agrees = labels[scores.indices[0]].id == copy.answered.label.id
        self._count(copy.to, Outcome.AGREES if agrees else Outcome.DISAGREES)
        # A label that the version does not have has no score there.
        score = next(
            (
                value
                for index, value in zip(scores.indices, scores.values, strict=True)
                if labels[index].id == copy.answered.label.id
            ),
            0.0,
        )
        shift = self._metrics.shadow_score_shift.labels(*_labels(copy.to))
        shift.observe(score - copy.answered.score)

    async def _score(self, copy: _Copy) -> Scores:
        image = copy.image
        if not isinstance(image, Tensor):
            source, spec = image, copy.to.manifest.input
            image = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._decoder.prepare, source, spec
            )
        return await copy.to.score_aside(image, self._thread)

    def _begin(self, to: Servable) -> None:
        """Show a version's counters at 0 before anything is counted."""
        self._known = (*_labels(to), to.digest)
        for outcome in Outcome:
            self._metrics.shadow_answers.labels(*_labels(to), outcome)
        for reason in CopyDrop:
            self._metrics.shadow_dropped.labels(*_labels(to), reason)

    def _count(self, to: Servable, outcome: Outcome) -> None:
        self._metrics.shadow_answers.labels(*_labels(to), outcome).inc()

    def _drop(self, to: Servable, reason: CopyDrop) -> None:
        self._metrics.shadow_dropped.labels(*_labels(to), reason).inc()


def _image_for(
    to: Servable, servable: Servable, source: ImageSource, image: Tensor
) -> Tensor | ImageSource | None:
    """What the version needs of an image; None where it cannot be had any more."""
    is_prepared = isinstance(source, PreparedPixels)
    if to.manifest.input.pixels == servable.manifest.input.pixels:
        return image.clone() if is_prepared else image  # a front's memory is another's soon
    return None if is_prepared else source


def _labels(servable: Servable) -> tuple[str, str]:
    return servable.manifest.name, str(servable.manifest.version)
