"""What the methods share: parse inside the handler, know the caller, end the call once.

grpc would answer a message that does not parse with UNKNOWN, so handlers take
bytes and parse themselves. What they raise is mapped in ``rpc.boundary``.
"""

from __future__ import annotations  # grpc's handler types are generic in their stubs only

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2

from server.access.quotas import Quota
from server.errors import InvalidRequestError
from server.request_ids import new_request_id
from server.rpc.door import visitor
from server.rpc.status import trailing_metadata

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Context = grpc.aio.ServicerContext[bytes, Message]

CLIENT_KEY = "menagerie-client"
_CALLER_KEYS = (CLIENT_KEY, "traceparent", "tracestate")
_LONGEST_NAME = 128
_DETAILS_KEY = "grpc-status-details-bin"  # as grpcio-status reads it
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_REQUEST_ID = re.compile(r"[\x20-\x7e]{1,128}", re.ASCII)


def parse(kind: type[Request], data: bytes) -> Request:
    """Parse a message.

    Raises:
        InvalidRequestError: The bytes are not such a message.
    """
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise InvalidRequestError("request", f"is not a valid {kind.DESCRIPTOR.name}") from error
    return message


def serialize(message: Message) -> bytes:
    """A message's bytes, for grpc."""
    return message.SerializeToString()


def accept_request_id(request_id: str) -> str:
    """The caller's id, checked, or a new one when it is empty.

    Raises:
        InvalidRequestError: Too long, or not printable ASCII.
    """
    if not request_id:
        return new_request_id()
    if not _REQUEST_ID.fullmatch(request_id):
        raise InvalidRequestError("request_id", "must be printable ASCII of at most 128 characters")
    return request_id


@dataclass(frozen=True)
class Caller:
    """Who calls and how long they wait.

    Attributes:
        name: Clients take turns by it.
        deadline: The call's, on the event loop's clock, in seconds; inf when it has none.
        quota: Each image takes a place of it.
        trace_headers: Its metadata of W3C Trace Context.
    """

    name: str
    deadline: float
    quota: Quota
    trace_headers: Mapping[str, str] = field(default_factory=dict)


def caller_of(context: Context) -> Caller:
    """Who the door let in, and the call's deadline.

    One who is not known may give a name in the metadata: clients behind a proxy take turns by
    it, while their quota is still the proxy's.
    """
    remaining = context.time_remaining()
    deadline = inf if remaining is None else asyncio.get_running_loop().time() + remaining
    texts = {
        key: value
        for key, value in context.invocation_metadata() or ()
        if isinstance(value, str) and key in _CALLER_KEYS
    }
    entered = visitor.get()
    named = texts.pop(CLIENT_KEY, "")[:_LONGEST_NAME]
    name = entered.name if entered.known else named or entered.name
    return Caller(name, deadline, entered.quota, texts)


class ClientLeftError(asyncio.CancelledError):
    """The client left before it could be told how its call ended: to gRPC, a cancelled call."""


async def end_with(context: Context, status: status_pb2.Status) -> None:
    """End the call with a status and its details.

    Raises:
        grpc.aio.AbortError: Always; it ends the handler.
        ClientLeftError: Nobody is left to tell.
    """
    details: tuple[str, str | bytes] = (_DETAILS_KEY, status.SerializeToString())
    metadata = (details, *trailing_metadata(status))
    try:
        await context.abort(_CODES[status.code], status.message, metadata)
    except grpc.aio.InternalError as unsent:
        raise ClientLeftError from unsent


class Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in its stubs only
    """Several services' handlers as one."""

    def __init__(self, *services: grpc.GenericRpcHandler[bytes, Message]) -> None:
        self._services = services

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, Message] | None:
        """gRPC asks who handles a method."""
        found = (service.service(handler_call_details) for service in self._services)
        return next((handler for handler in found if handler is not None), None)


def unary(
    kind: type[Request], method: Callable[[Request, Context], Awaitable[Response]]
) -> grpc.RpcMethodHandler[bytes, Message]:
    """A handler that parses ``kind`` and answers with what ``method`` returns."""

    async def handle(data: bytes, context: Context) -> Message:
        return await method(parse(kind, data), context)

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=None,
        response_serializer=serialize,
    )
