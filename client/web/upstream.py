"""Whom the gateway asks: a client that also speaks the Open Inference Protocol, message by message.

The gateway passes that protocol on as it is, so messages are not made into results here.
"""

from typing import TYPE_CHECKING

from google.protobuf.message import Message

from client.aio import AsyncClient, RequestT, ResponseT
from proto.inference import inference_pb2_grpc

if TYPE_CHECKING:
    import grpc


class Upstream(AsyncClient):
    """A connection to a server; see ``AsyncClient`` for the rest."""

    @property
    def inference(self) -> "inference_pb2_grpc.GRPCInferenceServiceAsyncStub":
        """The methods of ``inference.GRPCInferenceService``, for :meth:`call`."""
        return inference_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def call(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT]", request: RequestT
    ) -> ResponseT:
        """Call a method.

        Raises:
            ServerUnavailableError: No server was reached.
            ClassifyError: The server refused or failed the call.
        """
        return await self._call(method, request, None)

    async def pass_on(
        self, path: str, request: Message, answer: type[Message], timeout_s: float | None
    ) -> Message:
        """Call a method by its path; the server's own errors come through.

        Args:
            path: ``/package.Service/Method``.
            request: What it takes.
            answer: What it gives.
            timeout_s: How long it may take; the client's own limit holds, too.

        Raises:
            grpc.RpcError: The call failed.
        """
        method: grpc.aio.UnaryUnaryMultiCallable[Message, Message] = self._channel.unary_unary(
            path, type(request).SerializeToString, answer.FromString
        )
        limits = [each for each in (timeout_s, self.timeout_s) if each is not None]
        return await method(
            request, timeout=min(limits, default=None), metadata=self._credentials.metadata()
        )
