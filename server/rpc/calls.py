"""What every unary method shares: parse inside the handler, map errors, end the call once.

grpc would answer a message that does not parse with UNKNOWN, so handlers take
bytes and parse themselves.
"""

from __future__ import annotations  # grpc's handler types are generic in their stubs only

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from server.errors import InvalidRequestError
from server.rpc.status import status_of

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Context = grpc.aio.ServicerContext[bytes, Message]

CLIENT_KEY = "menagerie-client"
_LONGEST_NAME = 128
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
        return uuid.uuid4().hex
    if not _REQUEST_ID.fullmatch(request_id):
        raise InvalidRequestError("request_id", "must be printable ASCII of at most 128 characters")
    return request_id


@dataclass(frozen=True)
class Caller:
    """Who calls and how long they wait.

    Attributes:
        name: Clients take turns by it.
        deadline: The call's, on the event loop's clock, in seconds; inf when it has none.
    """

    name: str
    deadline: float


def caller_of(context: Context) -> Caller:
    """The name in the metadata, else the peer's host; and the call's deadline."""
    remaining = context.time_remaining()
    deadline = inf if remaining is None else asyncio.get_running_loop().time() + remaining
    for key, value in context.invocation_metadata() or ():
        if key == CLIENT_KEY and isinstance(value, str) and value:
            return Caller(value[:_LONGEST_NAME], deadline)
    return Caller(context.peer().rpartition(":")[0], deadline)


async def end_with(context: Context, status: status_pb2.Status) -> None:
    """End the call with a status and its details."""
    # Experimental since 2019 and missing from the stubs.
    abort = context.abort_with_status  # type: ignore[attr-defined]
    await abort(rpc_status.to_status(status))


def unary(
    kind: type[Request], method: Callable[[Request, Context], Awaitable[Response]]
) -> grpc.RpcMethodHandler[bytes, Message]:
    """A handler that parses ``kind`` and answers with what ``method`` returns."""

    async def handle(data: bytes, context: Context) -> Message | None:
        try:
            return await method(parse(kind, data), context)
        except Exception as error:
            if isinstance(error, grpc.aio.AbortError):
                raise
            await end_with(context, status_of(error, uuid.uuid4().hex))
            return None

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=None,
        response_serializer=serialize,
    )
