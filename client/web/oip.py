"""The Open Inference Protocol over HTTP: each method asks its namesake over gRPC.

docs/reference/oip.md has a row for each.
"""

from collections.abc import Mapping

from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from client.cli.json_lines import Json
from client.errors import InvalidArgumentError
from client.web.errors import GatewayError
from client.web.oip_tensors import Object, infer_answer, infer_request, parsed, set_parameters
from client.web.upstream import Upstream
from proto.inference import inference_pb2

_MODEL = "/v2/models/{model}"
_VERSION = "/v2/models/{model}/versions/{version}"
_JSON_BYTES = "Inference-Header-Content-Length"
_BINARY = "binary_tensor_data"


class InferenceApi:
    """The protocol's endpoints.

    Args:
        client: Whom to ask.
        admin: Who loads and unloads models; None: nobody does for callers of this gateway.
    """

    def __init__(self, client: Upstream, admin: Upstream | None) -> None:
        self._client = client
        self._admin = admin

    def routes(self) -> list[Route]:
        """Return the routes."""
        of_models = [
            Route(f"{path}{action}", endpoint, methods=[verb])
            for path in (_MODEL, _VERSION)
            for action, endpoint, verb in (
                ("", self.metadata, "GET"),
                ("/ready", self.model_ready, "GET"),
                ("/config", self.config, "GET"),
                ("/stats", self.statistics, "GET"),
                ("/infer", self.infer, "POST"),
            )
        ]
        return [
            Route("/v2", self.server),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
            Route("/v2/models/stats", self.statistics),  # before a model of this name
            *of_models,
            Route("/v2/repository/index", self.index, methods=["POST"]),
            Route("/v2/repository/models/{model}/load", self.load, methods=["POST"]),
            Route("/v2/repository/models/{model}/unload", self.unload, methods=["POST"]),
        ]

    async def server(self, _request: Request) -> Response:
        """Say what the server is."""
        method = self._client.inference.ServerMetadata
        answer = await self._client.call(method, inference_pb2.ServerMetadataRequest())
        answer.extensions.append(_BINARY)
        return JSONResponse(plain(answer))

    async def live(self, _request: Request) -> Response:
        """Say whether the server answers."""
        method = self._client.inference.ServerLive
        answer = await self._client.call(method, inference_pb2.ServerLiveRequest())
        return JSONResponse({"live": answer.live})

    async def ready(self, _request: Request) -> Response:
        """Say whether it takes requests; 503 if it does not."""
        method = self._client.inference.ServerReady
        answer = await self._client.call(method, inference_pb2.ServerReadyRequest())
        return JSONResponse({"ready": answer.ready}, 200 if answer.ready else 503)

    async def model_ready(self, request: Request) -> Response:
        """Say whether a model takes requests; 503 if it does not."""
        name, version = _model(request)
        asked = inference_pb2.ModelReadyRequest(name=name, version=version)
        answer = await self._client.call(self._client.inference.ModelReady, asked)
        told = {"name": name, "ready": answer.ready}
        return JSONResponse(told, 200 if answer.ready else 503)

    async def metadata(self, request: Request) -> Response:
        """Say what a model takes and gives."""
        name, version = _model(request)
        asked = inference_pb2.ModelMetadataRequest(name=name, version=version)
        answer = await self._client.call(self._client.inference.ModelMetadata, asked)
        return JSONResponse(plain(answer))

    async def config(self, request: Request) -> Response:
        """Say the same in Triton's words."""
        name, version = _model(request)
        asked = inference_pb2.ModelConfigRequest(name=name, version=version)
        answer = await self._client.call(self._client.inference.ModelConfig, asked)
        return JSONResponse(plain(answer.config))

    async def statistics(self, request: Request) -> Response:
        """Say what has been asked of a model, or of all, and what it took."""
        name, version = request.path_params.get("model", ""), request.path_params.get("version", "")
        asked = inference_pb2.ModelStatisticsRequest(name=name, version=version)
        answer = await self._client.call(self._client.inference.ModelStatistics, asked)
        return JSONResponse(plain(answer))

    async def infer(self, request: Request) -> Response:
        """Classify images."""
        asked = infer_request(
            await request.body(), request.headers.get(_JSON_BYTES), *_model(request)
        )
        answer = await self._client.call(self._client.inference.ModelInfer, asked.request)
        head, behind = infer_answer(answer, asked)
        if not behind:
            return Response(head, media_type="application/json")
        return Response(
            head + behind,
            headers={_JSON_BYTES: str(len(head))},
            media_type="application/octet-stream",
        )

    async def index(self, request: Request) -> Response:
        """List the repository."""
        ready = parsed(await request.body()).get("ready", False)
        if not isinstance(ready, bool):
            raise InvalidArgumentError("ready must be true or false", field="ready")
        asked = inference_pb2.RepositoryIndexRequest(ready=ready)
        answer = await self._client.call(self._client.inference.RepositoryIndex, asked)
        return JSONResponse([plain(model) for model in answer.models])

    async def load(self, request: Request) -> Response:
        """Load a model."""
        admin = self._administrator(request)
        asked = inference_pb2.RepositoryModelLoadRequest(model_name=request.path_params["model"])
        _take_parameters(await request.body(), asked.parameters)
        await admin.call(admin.inference.RepositoryModelLoad, asked)
        return JSONResponse({})

    async def unload(self, request: Request) -> Response:
        """Unload a model."""
        admin = self._administrator(request)
        asked = inference_pb2.RepositoryModelUnloadRequest(model_name=request.path_params["model"])
        _take_parameters(await request.body(), asked.parameters)
        await admin.call(admin.inference.RepositoryModelUnload, asked)
        return JSONResponse({})

    def _administrator(self, request: Request) -> Upstream:
        """Whom to ask to load and unload.

        Raises:
            GatewayError: Nobody; or a page in a browser wants it, and it could be anybody's.
        """
        if self._admin is None:
            raise GatewayError(
                501, "this gateway loads no models: it has no --admin-server", reason="NO_ADMIN"
            )
        if "origin" in request.headers:
            raise GatewayError(403, "loading models is not for web pages", reason="WEB_PAGE")
        return self._admin


def plain(message: Message) -> Object:
    """Return a message as JSON, every field under the proto's name, unset ones too.

    protobuf's own JSON has 64-bit integers as strings, which this protocol has as numbers.
    """
    told: Object = {}
    for field in message.DESCRIPTOR.fields:
        names = field.enum_type.values_by_number if field.enum_type else {}
        told[field.name] = _plain(
            getattr(message, field.name), {number: each.name for number, each in names.items()}
        )
    return told


def _plain(value: object, names: Mapping[int, str]) -> Json:
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, int):
        return names.get(value, value)
    if isinstance(value, str | float):
        return value
    return [_plain(each, names) for each in value]  # type: ignore[attr-defined] # it is repeated


def _model(request: Request) -> tuple[str, str]:
    return request.path_params["model"], request.path_params.get("version", "")


def _take_parameters(
    body: bytes, parameters: Mapping[str, inference_pb2.ModelRepositoryParameter]
) -> None:
    set_parameters(parsed(body).get("parameters", {}), parameters, "parameters")
