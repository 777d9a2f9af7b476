"""Between classify.v1 messages and the server's own types."""

import json
from math import isfinite

from google.protobuf.timestamp_pb2 import Timestamp

from models.class_activation import CamMethod
from models.manifest import InputSpec, Manifest, ResizeRule
from proto.classify.v1 import classify_pb2, common_pb2, model_pb2
from server.catalog.classification import (
    Classification,
    ExplainWish,
    Explanation,
    NoveltyVerdict,
    Prediction,
    PredictionSet,
)
from server.catalog.entry import Entry, Selection, State
from server.catalog.servable import Capacity
from server.errors import InvalidRequestError
from server.pipeline.decode import EncodedImage, ImageSource, RawPixels
from server.pipeline.views import Quality

DEFAULT_TOP_K = 5
MAX_TOP_K = 1000
ALL_LABELS = 2**31 - 1  # what a tensor of scores takes, however many there are
MAX_ROUTING_KEY_BYTES = 256

INFER_METHOD = "ModelInfer"

PRIORITIES = {
    classify_pb2.PRIORITY_INTERACTIVE: 0,
    classify_pb2.PRIORITY_UNSPECIFIED: 1,
    classify_pb2.PRIORITY_NORMAL: 1,
    classify_pb2.PRIORITY_BULK: 2,
}
_METHODS = {
    classify_pb2.EXPLAIN_METHOD_UNSPECIFIED: CamMethod.GRAD_CAM,
    classify_pb2.EXPLAIN_METHOD_GRAD_CAM: CamMethod.GRAD_CAM,
    classify_pb2.EXPLAIN_METHOD_GRAD_CAM_PLUS_PLUS: CamMethod.GRAD_CAM_PLUS_PLUS,
}
_QUALITIES = {
    classify_pb2.QUALITY_UNSPECIFIED: Quality.ONCE,
    classify_pb2.QUALITY_ONCE: Quality.ONCE,
    classify_pb2.QUALITY_FLIP: Quality.FLIP,
    classify_pb2.QUALITY_CROPS: Quality.CROPS,
}
_RESIZE_RULES = {ResizeRule.CENTER_CROP: model_pb2.RESIZE_RULE_CENTER_CROP}
_STATES = {
    State.LOADING: model_pb2.MODEL_STATE_LOADING,
    State.READY: model_pb2.MODEL_STATE_READY,
    State.DRAINING: model_pb2.MODEL_STATE_DRAINING,
    State.FAILED: model_pb2.MODEL_STATE_FAILED,
}


def selection(spec: common_pb2.ModelSpec, routing_key: str = "") -> Selection:
    """Which model version a message asks for.

    Raises:
        InvalidRequestError: A version or label is chosen and empty, or the key is too long.
    """
    if len(routing_key.encode()) > MAX_ROUTING_KEY_BYTES:
        raise InvalidRequestError("routing_key", f"must have {MAX_ROUTING_KEY_BYTES} bytes at most")
    choice = spec.WhichOneof("version_choice")
    if choice is not None and not getattr(spec, choice):
        raise InvalidRequestError(f"model.{choice}", "must not be empty when it is set")
    return Selection(spec.name, spec.version, spec.version_label, routing_key)


def image_source(image: classify_pb2.Image) -> ImageSource:
    """The image of a request.

    Raises:
        InvalidRequestError: None is set, both are, or it is empty.
    """
    encoded, raw = image.HasField("encoded"), image.HasField("raw")
    if encoded and raw:
        raise InvalidRequestError("image", "must have one of encoded and raw, not both")
    if encoded:
        data = image.encoded  # once: each look at a field of bytes copies it
        if not data:
            raise InvalidRequestError("image.encoded", "is empty")
        return EncodedImage(data, "image.encoded")
    if raw:
        return RawPixels(image.raw.data, image.raw.height, image.raw.width, "image.raw")
    raise InvalidRequestError("image", "is missing: set encoded or raw")


def top_k(request: classify_pb2.ClassifyRequest, method: str) -> int:
    """How many labels are wanted; of a method that asks for tensors, all may be.

    Raises:
        InvalidRequestError: Out of range.
    """
    if not request.HasField("top_k"):
        return DEFAULT_TOP_K
    most = ALL_LABELS if method == INFER_METHOD else MAX_TOP_K
    if not 1 <= request.top_k <= most:
        raise InvalidRequestError("top_k", f"must be from 1 to {MAX_TOP_K}, not {request.top_k}")
    return request.top_k


def min_score(request: classify_pb2.ClassifyRequest) -> float:
    """The smallest score to return.

    Raises:
        InvalidRequestError: Out of range, NaN or infinite.
    """
    value = request.min_score
    if not isfinite(value) or not 0.0 <= value <= 1.0:
        raise InvalidRequestError("min_score", "must be from 0 to 1")
    return value


def priority(request: classify_pb2.ClassifyRequest) -> int:
    """How urgent a request is, 0 most.

    Raises:
        InvalidRequestError: It is none that there is.
    """
    try:
        return PRIORITIES[request.priority]
    except KeyError:
        raise InvalidRequestError("priority", f"must not be {request.priority}") from None


def coverage(request: classify_pb2.ClassifyRequest) -> float | None:
    """Of the prediction set that is wanted, if one is; the model knows which there are."""
    return request.coverage if request.HasField("coverage") else None


def quality(request: classify_pb2.ClassifyRequest) -> Quality:
    """How often the image is to be looked at.

    Raises:
        InvalidRequestError: It is no such quality.
    """
    try:
        return _QUALITIES[request.quality]
    except KeyError:
        raise InvalidRequestError("quality", f"must not be {request.quality}") from None


def explain_wish(request: classify_pb2.ClassifyRequest) -> ExplainWish | None:
    """What is to be explained, if anything.

    Raises:
        InvalidRequestError: The method is none that there is.
    """
    if not request.HasField("explain"):
        return None
    options = request.explain
    method = _METHODS.get(options.method)
    if method is None:
        raise InvalidRequestError("explain.method", f"must not be {options.method}")
    return ExplainWish(options.label_id, method, options.overlay)


def classify_request(request: classify_pb2.ExplainRequest) -> classify_pb2.ClassifyRequest:
    """The request to classify that an Explain amounts to."""
    return classify_pb2.ClassifyRequest(
        request_id=request.request_id,
        model=request.model if request.HasField("model") else None,
        image=request.image if request.HasField("image") else None,
        priority=request.priority,
        explain=request.explain,
    )


def response(
    request_id: str, manifest: Manifest, digest: str, answer: Classification, total_s: float
) -> classify_pb2.ClassifyResponse:
    """The answer as a message."""
    return classify_pb2.ClassifyResponse(
        request_id=request_id,
        model_name=manifest.name,
        model_version=str(manifest.version),
        predictions=[_prediction(prediction) for prediction in answer.predictions],
        timings=classify_pb2.Timings(
            decode_us=_microseconds(answer.decode_s),
            queue_us=_microseconds(answer.queue_s),
            engine_us=_microseconds(answer.engine_s),
            total_us=_microseconds(total_s),
            batch_size=answer.batch_size,
            predicted_engine_us=_microseconds(answer.predicted_s),
            batch_closed_by=answer.closed_by,
        ),
        explanation=_explanation(answer.explanation) if answer.explanation else None,
        abstain=answer.abstain,
        prediction_set=_prediction_set(answer.prediction_set) if answer.prediction_set else None,
        novelty=_novelty(answer.novelty) if answer.novelty else None,
        digest=digest,
        browned_out_side=answer.shrunk_to,
    )


def known_response(
    request_id: str, response: classify_pb2.ClassifyResponse, total_s: float
) -> classify_pb2.ClassifyResponse:
    """An answer that was computed for another request, as this one's."""
    response.request_id = request_id
    response.timings.total_us = _microseconds(total_s)
    return response


def model(entry: Entry, *, is_default: bool) -> model_pb2.Model:
    """A model version as a message."""
    message = model_pb2.Model(
        name=entry.name,
        version=str(entry.version),
        is_default=is_default,
        state=_STATES[entry.state],
        state_reason=entry.reason,
        version_labels=entry.labels,
        digest=entry.digest,
        engine=entry.servable.engine.name if entry.servable else "",
        tuning=entry.servable.engine.tuned if entry.servable else "",
    )
    if entry.manifest is not None:
        _describe(message, entry.manifest)
    if entry.servable is not None:
        message.capacity.CopyFrom(_capacity(entry.servable.capacity))
    return message


def _capacity(capacity: Capacity) -> model_pb2.Capacity:
    return model_pb2.Capacity(
        batch_times=[
            model_pb2.BatchTime(batch_size=size, seconds=seconds)
            for size, seconds in capacity.batch_seconds.items()
        ],
        lanes=capacity.lanes,
        max_batch_size=capacity.max_batch_size,
        device=capacity.device,
        decode_seconds=capacity.decode_s,
        decoders=capacity.decoders,
    )


def _describe(message: model_pb2.Model, manifest: Manifest) -> None:
    message.labels.extend(
        model_pb2.Label(index=index, id=label.id, display_name=label.display_name)
        for index, label in enumerate(manifest.labels)
    )
    message.input.CopyFrom(_input(manifest.input))
    message.network = manifest.network
    message.data_fingerprint = manifest.data_fingerprint
    message.recipe_json = json.dumps(manifest.recipe)
    message.libraries.update(manifest.libraries)
    created = Timestamp()
    created.FromDatetime(manifest.created)
    message.create_time.CopyFrom(created)
    message.metrics.update({key: float(value) for key, value in manifest.metrics})


def _prediction(prediction: Prediction) -> classify_pb2.Prediction:
    return classify_pb2.Prediction(
        index=prediction.index,
        id=prediction.label.id,
        display_name=prediction.label.display_name,
        score=prediction.score,
    )


def _prediction_set(found: PredictionSet) -> classify_pb2.PredictionSet:
    return classify_pb2.PredictionSet(
        coverage=found.coverage,
        predictions=[_prediction(prediction) for prediction in found.predictions],
    )


def _novelty(verdict: NoveltyVerdict) -> classify_pb2.Novelty:
    return classify_pb2.Novelty(
        is_novel=verdict.is_novel, score=verdict.score, threshold=verdict.threshold
    )


def _explanation(explanation: Explanation) -> classify_pb2.Explanation:
    height, width = explanation.map.shape
    return classify_pb2.Explanation(
        prediction=_prediction(explanation.prediction),
        height=height,
        width=width,
        values=explanation.map.flatten().tolist(),
        overlay_png=explanation.overlay_png,
    )


def _input(spec: InputSpec) -> model_pb2.InputSpec:
    return model_pb2.InputSpec(
        height=spec.height,
        width=spec.width,
        resize_rule=_RESIZE_RULES[spec.resize_rule],
        crop_fraction=spec.crop_fraction,
    )


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
