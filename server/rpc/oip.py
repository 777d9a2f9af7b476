"""The Open Inference Protocol: requests go the way of all others, in other words.

docs/reference/oip.md has a row for each call and field.
"""

from __future__ import annotations  # grpc's handler types are generic in their stubs only

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import Message

from proto.classify.v1 import classify_pb2, common_pb2
from proto.inference import inference_pb2
from server.catalog.catalog import Catalog
from server.catalog.entry import Entry, Selection, State
from server.errors import InvalidRequestError, ModelChangedError, NotReadyError
from server.request_ids import new_request_id
from server.rpc.admin import model_name, version_of
from server.rpc.answers import Answers
from server.rpc.calls import Context, caller_of, end_with, unary
from server.rpc.oip_statistics import Statistics
from server.rpc.oip_tensors import INPUT, OUTPUTS, SCORES, Predictions, add_output, images_of
from server.rpc.translate import ALL_LABELS, DEFAULT_TOP_K, INFER_METHOD, MAX_TOP_K

if TYPE_CHECKING:
    from server.catalog.control import Control
    from server.telemetry.metrics import Metrics

SERVICE = "inference.GRPCInferenceService"
_PLATFORM = "pytorch_torchscript"
_EXTENSIONS = ("classification", "model_configuration", "model_repository", "statistics")
_STATES = {
    State.LOADING: "LOADING",
    State.READY: "READY",
    State.DRAINING: "UNLOADING",
    State.FAILED: "UNAVAILABLE",
}


class InferServicer:
    """ModelInfer.

    Args:
        answers: Where answers come from.
        max_images: Most images in one request.
    """

    def __init__(self, answers: Answers, max_images: int) -> None:
        self._answers = answers
        self._max_images = max_images

    def handlers(self) -> grpc.GenericRpcHandler[bytes, Message]:
        """The method, for ``server.add_generic_rpc_handlers``."""
        methods = {INFER_METHOD: unary(inference_pb2.ModelInferRequest, self._infer)}
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _infer(
        self, request: inference_pb2.ModelInferRequest, context: Context
    ) -> inference_pb2.ModelInferResponse:
        top_k = _number(request.parameters, "top_k", DEFAULT_TOP_K)
        wanted = _wanted(request)
        caller = caller_of(context)
        most = max(each.labels(top_k) for each in wanted)
        requests = _requests(request, images_of(request, self._max_images), most)
        served = await asyncio.gather(
            *(self._answers.serve(INFER_METHOD, each, caller) for each in requests)
        )
        responses: list[classify_pb2.ClassifyResponse] = []
        for place, each in enumerate(served):
            if not isinstance(each.outcome, classify_pb2.ClassifyResponse):
                each.outcome.message = f"image {place}: {each.outcome.message}"
                await end_with(context, each.outcome)
            else:
                responses.append(each.outcome)
        if len({(each.model_name, each.model_version) for each in responses}) != 1:
            raise ModelChangedError("the model changed while the request was answered")
        return _response(request, responses, wanted, top_k)


class InferenceModelServicer:
    """Everything about the protocol but ModelInfer, and but what administrators may do.

    Args:
        catalog: The models.
        metrics: The server's metrics.
        max_images: Most images in one request.
    """

    def __init__(self, catalog: Catalog, metrics: Metrics, max_images: int) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._max_images = max_images

    def handlers(self) -> grpc.GenericRpcHandler[bytes, Message]:
        """The methods, for ``server.add_generic_rpc_handlers``."""
        methods = {
            "ServerLive": unary(inference_pb2.ServerLiveRequest, self._live),
            "ServerReady": unary(inference_pb2.ServerReadyRequest, self._ready),
            "ModelReady": unary(inference_pb2.ModelReadyRequest, self._model_ready),
            "ServerMetadata": unary(inference_pb2.ServerMetadataRequest, self._server),
            "ModelMetadata": unary(inference_pb2.ModelMetadataRequest, self._metadata),
            "ModelConfig": unary(inference_pb2.ModelConfigRequest, self._config),
            "ModelStatistics": unary(inference_pb2.ModelStatisticsRequest, self._statistics),
            "RepositoryIndex": unary(inference_pb2.RepositoryIndexRequest, self._index),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _live(
        self, _request: inference_pb2.ServerLiveRequest, _context: Context
    ) -> inference_pb2.ServerLiveResponse:
        return inference_pb2.ServerLiveResponse(live=True)

    async def _ready(
        self, _request: inference_pb2.ServerReadyRequest, _context: Context
    ) -> inference_pb2.ServerReadyResponse:
        return inference_pb2.ServerReadyResponse(ready=self._catalog.is_ready())

    async def _model_ready(
        self, request: inference_pb2.ModelReadyRequest, _context: Context
    ) -> inference_pb2.ModelReadyResponse:
        entry = self._catalog.resolve(Selection(request.name, request.version))
        return inference_pb2.ModelReadyResponse(ready=entry.state is State.READY)

    async def _server(
        self, _request: inference_pb2.ServerMetadataRequest, _context: Context
    ) -> inference_pb2.ServerMetadataResponse:
        return inference_pb2.ServerMetadataResponse(
            name="menagerie", version=version("menagerie"), extensions=_EXTENSIONS
        )

    async def _metadata(
        self, request: inference_pb2.ModelMetadataRequest, _context: Context
    ) -> inference_pb2.ModelMetadataResponse:
        entry = self._catalog.resolve(Selection(request.name, request.version))
        side, classes = _shape(entry)
        tensor = inference_pb2.ModelMetadataResponse.TensorMetadata
        return inference_pb2.ModelMetadataResponse(
            name=entry.name,
            versions=[str(number) for number in self._catalog.ready(entry.name)],
            platform=_PLATFORM,
            inputs=[tensor(name=INPUT, datatype="UINT8", shape=[-1, *side, 3])],
            outputs=[tensor(name=SCORES, datatype="FP32", shape=[-1, classes])],
        )

    async def _config(
        self, request: inference_pb2.ModelConfigRequest, _context: Context
    ) -> inference_pb2.ModelConfigResponse:
        entry = self._catalog.resolve(Selection(request.name, request.version))
        side, classes = _shape(entry)
        taken = inference_pb2.ModelInput(
            name=INPUT,
            data_type=inference_pb2.TYPE_UINT8,
            format=inference_pb2.ModelInput.FORMAT_NHWC,
            dims=[*side, 3],
        )
        given = inference_pb2.ModelOutput(
            name=SCORES, data_type=inference_pb2.TYPE_FP32, dims=[classes]
        )
        config = inference_pb2.ModelConfig(
            name=entry.name,
            platform=_PLATFORM,
            backend="pytorch",
            max_batch_size=self._max_images,
            input=[taken],
            output=[given],
        )
        return inference_pb2.ModelConfigResponse(config=config)

    async def _statistics(
        self, request: inference_pb2.ModelStatisticsRequest, _context: Context
    ) -> inference_pb2.ModelStatisticsResponse:
        entries = self._catalog.entries()
        if request.name or request.version:
            found = self._catalog.resolve(Selection(request.name, request.version))
            entries = [entry for entry in entries if entry.name == found.name]
            if request.version:
                entries = [found]
        statistics = Statistics(self._metrics)
        return inference_pb2.ModelStatisticsResponse(
            model_stats=[
                statistics.of(entry, entry.servable) for entry in entries if entry.servable
            ]
        )

    async def _index(
        self, request: inference_pb2.RepositoryIndexRequest, _context: Context
    ) -> inference_pb2.RepositoryIndexResponse:
        _check_repository(request.repository_name)
        index = inference_pb2.RepositoryIndexResponse.ModelIndex
        return inference_pb2.RepositoryIndexResponse(
            models=[
                index(
                    name=entry.name,
                    version=str(entry.version),
                    state=_STATES[entry.state],
                    reason=entry.reason,
                )
                for entry in self._catalog.entries()
                if entry.state is State.READY or not request.ready
            ]
        )


class InferenceAdminServicer:
    """What administrators may do in the protocol's words.

    Args:
        control: Does it.
    """

    def __init__(self, control: Control) -> None:
        self._control = control

    def handlers(self) -> grpc.GenericRpcHandler[bytes, Message]:
        """The methods, for ``server.add_generic_rpc_handlers``."""
        methods = {
            "RepositoryModelLoad": unary(inference_pb2.RepositoryModelLoadRequest, self._load),
            "RepositoryModelUnload": unary(
                inference_pb2.RepositoryModelUnloadRequest, self._unload
            ),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _load(
        self, request: inference_pb2.RepositoryModelLoadRequest, _context: Context
    ) -> inference_pb2.RepositoryModelLoadResponse:
        _check_repository(request.repository_name)
        overrides = request.parameters.keys() - {"version"}
        if overrides:
            raise InvalidRequestError("parameters", "must not override what the repository holds")
        version = version_of(request.parameters["version"].string_param)
        await self._control.load(model_name(request.model_name), version)
        return inference_pb2.RepositoryModelLoadResponse()

    async def _unload(
        self, request: inference_pb2.RepositoryModelUnloadRequest, _context: Context
    ) -> inference_pb2.RepositoryModelUnloadResponse:
        _check_repository(request.repository_name)
        version = version_of(request.parameters["version"].string_param)
        await self._control.unload(model_name(request.model_name), version)
        return inference_pb2.RepositoryModelUnloadResponse()


@dataclass(frozen=True)
class _Wanted:
    """An output that is wanted.

    Attributes:
        name: Its name.
        classification: How many "score:index:label" strings instead of what it is; 0: none.
    """

    name: str
    classification: int = 0

    def labels(self, top_k: int) -> int:
        """How many labels it takes."""
        if self.classification:
            return self.classification
        return ALL_LABELS if self.name == SCORES else top_k


def _wanted(request: inference_pb2.ModelInferRequest) -> list[_Wanted]:
    """The outputs that a request names, or all.

    Raises:
        InvalidRequestError: There is none such.
    """
    wanted = [
        _Wanted(output.name, _number(output.parameters, "classification", 0))
        for output in request.outputs
    ]
    for output in wanted:
        if output.name not in OUTPUTS:
            names = ", ".join(OUTPUTS)
            raise InvalidRequestError("outputs", f"must be of {names}: {output.name[:64]!a}")
    return wanted or [_Wanted(name) for name in OUTPUTS]


def _requests(
    request: inference_pb2.ModelInferRequest, images: list[classify_pb2.Image], top_k: int
) -> list[classify_pb2.ClassifyRequest]:
    spec = common_pb2.ModelSpec(name=request.model_name)
    if request.model_version:
        spec.version = request.model_version
    elif "version_label" in request.parameters:
        spec.version_label = request.parameters["version_label"].string_param
    # One key for all: they are to meet the same version.
    key = request.parameters["routing_key"].string_param or new_request_id()
    return [
        classify_pb2.ClassifyRequest(model=spec, image=image, top_k=top_k, routing_key=key)
        for image in images
    ]


def _response(
    request: inference_pb2.ModelInferRequest,
    responses: list[classify_pb2.ClassifyResponse],
    wanted: Sequence[_Wanted],
    top_k: int,
) -> inference_pb2.ModelInferResponse:
    response = inference_pb2.ModelInferResponse(
        model_name=responses[0].model_name,
        model_version=responses[0].model_version,
        id=request.id,
    )
    answers: list[Predictions] = [each.predictions for each in responses]
    raw = bool(request.raw_input_contents)
    for output in wanted:
        add_output(response, output.name, answers, top_k, output.classification, raw=raw)
    return response


def _number(parameters: Mapping[str, inference_pb2.InferParameter], name: str, default: int) -> int:
    """A parameter that counts labels.

    Raises:
        InvalidRequestError: Out of range.
    """
    if name not in parameters:
        return default
    value = parameters[name].int64_param or parameters[name].uint64_param
    if not 1 <= value <= MAX_TOP_K:
        raise InvalidRequestError(f"parameters.{name}", f"must be from 1 to {MAX_TOP_K}")
    return value


def _shape(entry: Entry) -> tuple[tuple[int, int], int]:
    """Height and width of the input, and the number of classes."""
    if entry.manifest is None:
        raise NotReadyError(f"{entry.name} version {entry.version} is {entry.state}")
    image = entry.manifest.input
    return (image.height, image.width), len(entry.manifest.labels)


def _check_repository(name: str) -> None:
    if name:
        raise InvalidRequestError("repository_name", "must be empty: there is one repository")
