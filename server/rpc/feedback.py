"""What people say of answers, and which photos are kept to learn from.

Remembers who answered what, for a while; counts right and wrong by version; hands photos that
are uncertain, novel or corrected, and whose senders allow it, to the capture.
"""

from __future__ import annotations  # grpc's handler types are generic in their stubs only

from collections import OrderedDict
from dataclasses import dataclass

import grpc
from google.protobuf.message import Message

from proto.classify.v1 import classify_pb2
from server.errors import InvalidRequestError, NotFoundError
from server.pipeline.capture import Capture, Captured
from server.rpc.calls import Context, unary
from server.telemetry.metrics import Metrics

SERVICE = "classify.v1.FeedbackService"

_LONGEST_LABEL = 128
_LONGEST_COMMENT = 1000
_IMAGE_MEMORY_BYTES = 64 * 2**20
_MOST_LABELS = 100


@dataclass(slots=True)
class _Remembered:
    response: classify_pb2.ClassifyResponse
    image: bytes
    counted: bool = False


class AnswerMemory:
    """The last answers, to be spoken of.

    Args:
        metrics: The server's metrics.
        capture: Keeps photos; None: none are kept.
        most: How many answers are remembered.
    """

    def __init__(self, metrics: Metrics, capture: Capture | None, most: int) -> None:
        self._feedback = metrics.feedback
        self._capture = capture
        self._most = most
        self._memory: OrderedDict[str, _Remembered] = OrderedDict()
        self._image_bytes = 0

    def note(
        self, request: classify_pb2.ClassifyRequest, response: classify_pb2.ClassifyResponse
    ) -> None:
        """Remember an answer, and keep its photo if there is a reason to and it may be."""
        kept = self._capture is not None and request.may_keep_image
        image = request.image.encoded if kept else b""
        self._remember(response, image)
        reasons = _reasons(response)
        if image and reasons and self._capture is not None:
            self._capture.offer(_captured(response, image, reasons))

    def tell(self, feedback: classify_pb2.FeedbackRequest) -> classify_pb2.FeedbackResponse:
        """Take in what somebody says of an answer.

        Raises:
            InvalidRequestError: A field is missing or too long.
            NotFoundError: No such answer is remembered.
        """
        _check(feedback)
        found = self._found(feedback.request_id)
        response = found.response
        best = response.predictions[0].id if response.predictions else ""
        correct = best == feedback.label_id
        if not found.counted:
            found.counted = True
            outcome = "correct" if correct else "wrong"
            self._feedback.labels(response.model_name, response.model_version, outcome).inc()
        if self._capture is not None and found.image and not correct:
            reasons = (*_reasons(response), "corrected")
            self._capture.offer(_captured(response, found.image, reasons, feedback))
        return classify_pb2.FeedbackResponse(
            correct=correct, model_name=response.model_name, model_version=response.model_version
        )

    def answer(self, request_id: str) -> classify_pb2.ClassifyResponse:
        """An answer that is remembered.

        Raises:
            NotFoundError: It is not.
        """
        return self._found(request_id).response

    def _found(self, request_id: str) -> _Remembered:
        found = self._memory.get(request_id)
        if found is None:
            raise NotFoundError(
                "request_id", f"names none of the last {self._most} answers of this server"
            )
        return found

    def _remember(self, response: classify_pb2.ClassifyResponse, image: bytes) -> None:
        if response.HasField("explanation") or len(response.predictions) > _MOST_LABELS:
            # Maps, pictures and thousands of labels are large, and not spoken of.
            whole, response = response, classify_pb2.ClassifyResponse()
            response.CopyFrom(whole)
            response.ClearField("explanation")
            del response.predictions[_MOST_LABELS:]
        self._forget(response.request_id)
        self._memory[response.request_id] = _Remembered(response, image)
        self._image_bytes += len(image)
        while len(self._memory) > self._most or self._image_bytes > _IMAGE_MEMORY_BYTES:
            self._forget(next(iter(self._memory)))

    def _forget(self, request_id: str) -> None:
        found = self._memory.pop(request_id, None)
        if found is not None:
            self._image_bytes -= len(found.image)


class FeedbackServicer:
    """FeedbackService.

    Args:
        memory: The answers that can be spoken of.
    """

    def __init__(self, memory: AnswerMemory) -> None:
        self._memory = memory

    def handlers(self) -> grpc.GenericRpcHandler[bytes, Message]:
        """The service, for ``server.add_generic_rpc_handlers``."""
        methods = {
            "Feedback": unary(classify_pb2.FeedbackRequest, self._feedback),
            "GetAnswer": unary(classify_pb2.GetAnswerRequest, self._answer),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _feedback(
        self, request: classify_pb2.FeedbackRequest, _context: Context
    ) -> classify_pb2.FeedbackResponse:
        return self._memory.tell(request)

    async def _answer(
        self, request: classify_pb2.GetAnswerRequest, _context: Context
    ) -> classify_pb2.GetAnswerResponse:
        return classify_pb2.GetAnswerResponse(response=self._memory.answer(request.request_id))


def _check(feedback: classify_pb2.FeedbackRequest) -> None:
    if not feedback.request_id:
        raise InvalidRequestError("request_id", "is required")
    if not feedback.label_id:
        raise InvalidRequestError("label_id", "is required: what does the image show?")
    for name, most in (("label_id", _LONGEST_LABEL), ("comment", _LONGEST_COMMENT)):
        text = getattr(feedback, name)
        if len(text) > most:
            raise InvalidRequestError(name, f"has {len(text)} characters; {most} are allowed")


def _reasons(response: classify_pb2.ClassifyResponse) -> tuple[str, ...]:
    novel = ("novel",) if response.novelty.is_novel else ()
    return (*(("uncertain",) if response.abstain else ()), *novel)


def _captured(
    response: classify_pb2.ClassifyResponse,
    image: bytes,
    reasons: tuple[str, ...],
    feedback: classify_pb2.FeedbackRequest | None = None,
) -> Captured:
    best = response.predictions[0] if response.predictions else classify_pb2.Prediction()
    return Captured(
        image=image,
        request_id=response.request_id,
        model=response.model_name,
        version=response.model_version,
        digest=response.digest,
        predicted=best.id,
        score=best.score,
        reasons=reasons,
        true_label=feedback.label_id if feedback else "",
        comment=feedback.comment if feedback else "",
    )
