"""Answers to requests that were answered before: same image, same artifact, same wishes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from proto.classify.v1 import classify_pb2
from server.catalog.classification import Classification, ExplainWish
from server.catalog.servable import Servable
from server.errors import InvalidRequestError
from server.pipeline.cache import AnswerCache, Origin
from server.pipeline.content import content_of
from server.pipeline.decode import ImageSource, PreparedPixels
from server.pipeline.views import Quality
from server.rpc import translate
from server.telemetry.metrics import Metrics


@dataclass(frozen=True)
class Wishes:
    """Everything about a request, beside image and model, that makes its answer another; and how
    urgent it is, which does not.

    Attributes:
        top_k: How many labels at most.
        min_score: Leaves out labels below it.
        explain: What to explain, if anything.
        coverage: Of the prediction set that is wanted, if one is.
        quality: How often the image is looked at.
        priority: 0 is the most urgent.
    """

    top_k: int
    min_score: float
    explain: ExplainWish | None
    coverage: float | None
    quality: Quality
    priority: int


def wishes_of(method: str, request: classify_pb2.ClassifyRequest) -> Wishes:
    """What a request asks of its answer.

    Raises:
        InvalidRequestError: A field is out of range.
    """
    return Wishes(
        translate.top_k(request, method),
        translate.min_score(request),
        translate.explain_wish(request),
        translate.coverage(request),
        translate.quality(request),
        translate.priority(request),
    )


@dataclass(frozen=True)
class Known:
    """An answer that was not computed for this request.

    Attributes:
        response: Without an id and times of its own.
    """

    response: classify_pb2.ClassifyResponse


class ResponseCache:
    """Keeps answers, or none.

    Args:
        capacity_bytes: Of answers; 0: none is kept, and every request is computed.
        metrics: The server's.
    """

    def __init__(self, capacity_bytes: int, metrics: Metrics) -> None:
        self._is_on = capacity_bytes > 0
        self._requests = metrics.response_cache_requests
        # What is wrong with an image or a wish is wrong with everybody's.
        self._cache = AnswerCache(
            capacity_bytes,
            is_shared=lambda error: isinstance(error, InvalidRequestError),
            on_evict=metrics.response_cache_evictions.inc,
        )
        metrics.response_cache_bytes.set_function(lambda: self._cache.held_bytes)

    async def answer(
        self,
        servable: Servable,
        wishes: Wishes,
        source: ImageSource,
        deadline: float,
        compute: Callable[[], Awaitable[Classification]],
    ) -> Classification | Known:
        """The answer to a request: computed for it, or known.

        Args:
            servable: That is to answer.
            wishes: What the request asks.
            source: Its image.
            deadline: On the event loop's clock, in seconds.
            compute: Has ``servable`` answer it, and knows the deadline.

        Raises:
            ServingError: There is none; the class says why.
        """
        content = await content_of(source) if self._is_on else b""
        if not content:
            return await compute()
        if isinstance(source, PreparedPixels) and source.pixels is not None:
            # Its memory is another's once this request ends; the computation may last longer.
            source.pixels = source.pixels.clone()
        computed: list[Classification] = []

        async def fly() -> bytes:
            computed.append(await compute())
            response = translate.response("", servable.manifest, servable.digest, computed[0], 0.0)
            response.ClearField("timings")
            return response.SerializeToString()

        found = await self._cache.get(
            (servable.digest, content, replace(wishes, priority=0)),
            fly,
            urgency=wishes.priority,
            deadline=deadline,
            keeps=lambda: not computed[0].shrunk_to,  # an answer for lack of time alone
        )
        model = (servable.manifest.name, str(servable.manifest.version))
        self._requests.labels(*model, found.origin).inc()
        if found.origin is Origin.MISS:
            return computed[0]
        response = classify_pb2.ClassifyResponse.FromString(found.value)
        response.from_cache = True
        return Known(response)
