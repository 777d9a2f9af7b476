"""gRPC-Web and the Connect protocol: calls of browsers, passed on as they are. Extra ``grpc-web``.

The protocols are connectrpc's; here is only which methods there are and whom they go to.
"""

from collections.abc import Awaitable, Callable, Iterable

import grpc
from connectrpc.code import Code
from connectrpc.compat import google_protobuf_codecs
from connectrpc.errors import ConnectError, ErrorDetail
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectASGIApplication, Endpoint
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from protobuf.wkt import Any as PackedDetail
from starlette.routing import Mount

from client.images import MAX_MESSAGE_BYTES
from client.status import status_details
from client.web.upstream import Upstream
from proto.classify.v1 import classify_pb2, model_pb2
from proto.inference import inference_pb2

_ADMINISTRATION = ("RepositoryModelLoad", "RepositoryModelUnload")
_CODES = {code.name: code for code in Code} | {"CANCELLED": Code.CANCELED}

Handler = Callable[[Message, RequestContext[Message, Message]], Awaitable[Message]]


def grpc_web_routes(client: Upstream) -> list[Mount]:
    """Return a route for each service. Streams of both sides are left out: browsers have none."""
    services: Iterable[ServiceDescriptor] = (
        service
        for file in (classify_pb2.DESCRIPTOR, model_pb2.DESCRIPTOR, inference_pb2.DESCRIPTOR)
        for service in file.services_by_name.values()
    )
    return [Mount(f"/{service.full_name}", app=_Service(client, service)) for service in services]


class _Service(ConnectASGIApplication[Upstream]):
    """A service, as an ASGI application."""

    def __init__(self, client: Upstream, service: ServiceDescriptor) -> None:
        self._name = service.full_name
        super().__init__(
            service=client,
            endpoints=lambda asked: {
                path: Endpoint.unary(
                    method=_info(service, method), function=_way(asked, path, method)
                )
                for path, method in _offered(service).items()
            },
            read_max_bytes=MAX_MESSAGE_BYTES,
            compressions=(),
            codecs=google_protobuf_codecs(),
        )

    @property
    def path(self) -> str:
        """Where its methods are."""
        return f"/{self._name}"


def _offered(service: ServiceDescriptor) -> dict[str, MethodDescriptor]:
    """The methods by their paths."""
    return {
        f"/{service.full_name}/{method.name}": method
        for method in service.methods
        if not method.client_streaming and method.name not in _ADMINISTRATION
    }


def _info(service: ServiceDescriptor, method: MethodDescriptor) -> MethodInfo[Message, Message]:
    return MethodInfo(
        name=method.name,
        service_name=service.full_name,
        input=GetMessageClass(method.input_type),
        output=GetMessageClass(method.output_type),
        idempotency_level=IdempotencyLevel.UNKNOWN,  # hence no GET
        stream_type=StreamType.UNARY,
    )


def _way(client: Upstream, path: str, method: MethodDescriptor) -> Handler:
    answer = GetMessageClass(method.output_type)

    async def pass_on(request: Message, context: RequestContext[Message, Message]) -> Message:
        left_ms = context.timeout_ms
        try:
            return await client.pass_on(
                path, request, answer, None if left_ms is None else left_ms / 1000
            )
        except grpc.RpcError as error:
            raise _told(error) from error

    return pass_on


def _told(error: grpc.RpcError) -> ConnectError:
    """The same error in the library's words, with its details."""
    status = status_details(error)
    details = () if status is None else status.details
    return ConnectError(
        _CODES.get(error.code().name, Code.UNKNOWN),
        error.details() or "",
        [ErrorDetail(PackedDetail(type_url=each.type_url, value=each.value)) for each in details],
    )
