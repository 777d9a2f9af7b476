"""Between the wire and the caller: requests from plain arguments, dataclasses from answers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Literal

from client.errors import InternalError, InvalidArgumentError
from client.pixels import Pixels
from client.results import (
    Capacity,
    Classification,
    Explanation,
    InputInfo,
    Label,
    ModelInfo,
    Novelty,
    Prediction,
    PredictionSet,
    Timings,
)
from client.status import from_status
from proto.classify.v1 import classify_pb2, common_pb2, model_pb2

Priority = Literal["interactive", "normal", "bulk"]
Quality = Literal["once", "flip", "crops"]
CamMethod = Literal["grad_cam", "grad_cam_plus_plus"]

_PRIORITIES = {
    "interactive": classify_pb2.PRIORITY_INTERACTIVE,
    "normal": classify_pb2.PRIORITY_UNSPECIFIED,
    "bulk": classify_pb2.PRIORITY_BULK,
}
_QUALITIES = {
    "once": classify_pb2.QUALITY_UNSPECIFIED,
    "flip": classify_pb2.QUALITY_FLIP,
    "crops": classify_pb2.QUALITY_CROPS,
}
_METHODS = {
    "grad_cam": classify_pb2.EXPLAIN_METHOD_GRAD_CAM,
    "grad_cam_plus_plus": classify_pb2.EXPLAIN_METHOD_GRAD_CAM_PLUS_PLUS,
}


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of every image of a call; unset fields leave the choice to the server."""

    model: str = ""
    version: str = ""
    label: str = ""
    top_k: int | None = None
    min_score: float | None = None
    priority: Priority = "normal"
    coverage: float | None = None
    may_keep_image: bool = False
    quality: Quality = "once"

    def request(self) -> classify_pb2.ClassifyRequest:
        """Return a request that lacks its image and its id.

        Raises:
            InvalidArgumentError: A value cannot be put into a message.
        """
        request = classify_pb2.ClassifyRequest()
        if self.model or self.version or self.label:
            request.model.CopyFrom(model_spec(self.model, self.version, self.label))
        if self.top_k is not None:
            try:
                request.top_k = self.top_k
            except ValueError as error:
                raise InvalidArgumentError(
                    "top_k does not fit into 32 bits", field="top_k"
                ) from error
        if self.min_score is not None:
            request.min_score = self.min_score
        request.may_keep_image = self.may_keep_image
        if self.quality not in _QUALITIES:
            raise InvalidArgumentError(
                f"quality must be one of {', '.join(_QUALITIES)}", field="quality"
            )
        request.quality = _QUALITIES[self.quality]
        if self.coverage is not None:
            request.coverage = self.coverage
        try:
            request.priority = _PRIORITIES[self.priority]
        except KeyError:
            raise InvalidArgumentError(
                f"priority must be one of {', '.join(_PRIORITIES)}", field="priority"
            ) from None
        return request


def model_spec(model: str, version: str, label: str) -> common_pb2.ModelSpec:
    """Return the choice of a model version; empty strings choose nothing.

    Raises:
        InvalidArgumentError: Version and label are both given, or one is no text.
    """
    if version and label:
        raise InvalidArgumentError(
            "a version and a version label exclude each other", field="model.version_choice"
        )
    try:
        spec = common_pb2.ModelSpec(name=model)
        if version:
            spec.version = version
        if label:
            spec.version_label = label
    except UnicodeEncodeError as error:
        raise InvalidArgumentError("model is not valid text", field="model") from error
    return spec


def with_image(
    template: classify_pb2.ClassifyRequest, image: bytes | Pixels, request_id: str
) -> classify_pb2.ClassifyRequest:
    """Return a copy of `template` that carries the image and the id.

    Raises:
        InvalidArgumentError: The id is no text.
    """
    request = classify_pb2.ClassifyRequest()
    request.CopyFrom(template)
    try:
        request.request_id = request_id
    except UnicodeEncodeError as error:
        raise InvalidArgumentError("request_id is not valid text", field="request_id") from error
    request.image.CopyFrom(_image(image))
    return request


def explain_request(
    query: Query, image: bytes | Pixels, label_id: str, method: CamMethod, *, overlay: bool
) -> classify_pb2.ExplainRequest:
    """Return the request to explain an image.

    Raises:
        InvalidArgumentError: A value cannot be put into a message.
    """
    template = query.request()
    if method not in _METHODS:
        raise InvalidArgumentError(
            f"method must be one of {', '.join(_METHODS)}", field="explain.method"
        )
    try:
        options = classify_pb2.ExplainOptions(
            label_id=label_id, method=_METHODS[method], overlay=overlay
        )
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            "label_id is not valid text", field="explain.label_id"
        ) from error
    return classify_pb2.ExplainRequest(
        model=template.model if template.HasField("model") else None,
        image=_image(image),
        priority=template.priority,
        explain=options,
    )


def feedback_request(request_id: str, label_id: str, comment: str) -> classify_pb2.FeedbackRequest:
    """Return what is said of an answer.

    Raises:
        InvalidArgumentError: A value is no text.
    """
    try:
        return classify_pb2.FeedbackRequest(
            request_id=request_id, label_id=label_id, comment=comment
        )
    except UnicodeEncodeError as error:
        raise InvalidArgumentError("feedback is not valid text", field="comment") from error


def get_answer_request(request_id: str) -> classify_pb2.GetAnswerRequest:
    """Return the request for an answer of before.

    Raises:
        InvalidArgumentError: The id is no text.
    """
    try:
        return classify_pb2.GetAnswerRequest(request_id=request_id)
    except UnicodeEncodeError as error:
        raise InvalidArgumentError("request_id is not valid text", field="request_id") from error


def classification(response: classify_pb2.ClassifyResponse) -> Classification:
    """Return the answer for one image."""
    timings = response.timings
    return Classification(
        model=response.model_name,
        version=response.model_version,
        predictions=tuple(map(_prediction, response.predictions)),
        timings=Timings(
            timings.decode_us,
            timings.queue_us,
            timings.engine_us,
            timings.total_us,
            timings.batch_size,
            timings.predicted_engine_us,
            timings.batch_closed_by,
        ),
        request_id=response.request_id,
        explanation=_explanation(response.explanation)
        if response.HasField("explanation")
        else None,
        abstain=response.abstain if response.HasField("abstain") else None,
        prediction_set=PredictionSet(
            response.prediction_set.coverage,
            tuple(map(_prediction, response.prediction_set.predictions)),
        )
        if response.HasField("prediction_set")
        else None,
        novelty=_novelty(response.novelty) if response.HasField("novelty") else None,
        browned_out_side=response.browned_out_side,
        digest=response.digest,
        from_cache=response.from_cache,
    )


def item_classification(result: classify_pb2.ClassifyResult) -> Classification:
    """Return the answer for one item of a stream.

    Raises:
        ClassifyError: The item failed.
    """
    match result.WhichOneof("outcome"):
        case "response":
            return classification(result.response)
        case "error":
            raise from_status(result.error)
        case _:
            raise InternalError("the server answered with neither labels nor an error")


def model_info(model: model_pb2.Model) -> ModelInfo:
    """Return the description of one model version."""
    return ModelInfo(
        name=model.name,
        version=model.version,
        is_default=model.is_default,
        state=_enum_name(model_pb2.ModelState.items(), model.state, "MODEL_STATE_"),
        state_reason=model.state_reason,
        version_labels=tuple(model.version_labels),
        labels=tuple(Label(label.index, label.id, label.display_name) for label in model.labels),
        input=_input_info(model.input),
        network=model.network,
        created=model.create_time.ToDatetime(UTC) if model.HasField("create_time") else None,
        metrics=dict(model.metrics),
        digest=model.digest,
        data_fingerprint=model.data_fingerprint,
        recipe=_recipe(model.recipe_json),
        libraries=dict(model.libraries),
        engine=model.engine,
        tuning=model.tuning,
        capacity=_capacity(model.capacity) if model.HasField("capacity") else None,
    )


def _image(image: bytes | Pixels) -> classify_pb2.Image:
    if isinstance(image, bytes):
        return classify_pb2.Image(encoded=image)
    raw = classify_pb2.RawImage(height=image.height, width=image.width, data=image.data)
    return classify_pb2.Image(raw=raw)


def _prediction(message: classify_pb2.Prediction) -> Prediction:
    return Prediction(message.index, message.id, message.display_name, message.score)


def _novelty(message: classify_pb2.Novelty) -> Novelty:
    return Novelty(message.is_novel, message.score, message.threshold)


def _explanation(message: classify_pb2.Explanation) -> Explanation:
    values, width = tuple(message.values), message.width
    return Explanation(
        prediction=_prediction(message.prediction),
        map=tuple(values[row * width : (row + 1) * width] for row in range(message.height)),
        overlay_png=message.overlay_png,
    )


def _recipe(text: str) -> Mapping[str, object]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _capacity(capacity: model_pb2.Capacity) -> Capacity:
    return Capacity(
        batch_seconds={each.batch_size: each.seconds for each in capacity.batch_times},
        lanes=capacity.lanes,
        max_batch_size=capacity.max_batch_size,
        device=capacity.device,
        decode_s=capacity.decode_seconds,
        decoders=capacity.decoders,
    )


def _input_info(spec: model_pb2.InputSpec) -> InputInfo:
    rule = _enum_name(model_pb2.ResizeRule.items(), spec.resize_rule, "RESIZE_RULE_")
    return InputInfo(spec.height, spec.width, rule, spec.crop_fraction)


def _enum_name(items: Sequence[tuple[str, int]], number: int, prefix: str) -> str:
    """Return an enum value's name without its prefix; the number if the server is newer."""
    names = {value: name.removeprefix(prefix) for name, value in items}
    return names.get(number, str(number))
